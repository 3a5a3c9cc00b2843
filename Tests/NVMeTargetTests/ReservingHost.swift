import CLibNVMe
import InProcessTransport
import Synchronization
import TargetInterface

/// A host that registers, reserves, reads and writes. Commands are bytes with libnvme's numbers in them.
struct ReservingHost {
    let host: EngineHost
    var nsid: UInt32 = 1

    init(_ host: EngineHost, nsid: UInt32 = 1) { (self.host, self.nsid) = (host, nsid) }

    static let conflict = RawStatus.refused(NVME_SC_RESERVATION_CONFLICT)
    static let invalid = RawStatus.refused(NVME_SC_INVALID_FIELD)

    var id: [UInt8] { host.name.id }

    static func keys(_ keys: UInt64...) -> InProcessData { .fromHost(keys.flatMap { RawSGL.little($0, 8) }) }

    /// Dword 10: the action, IEKEY in bit 3, RTYPE in bits 15:8, CPTPL in bits 31:30.
    static func command(
        _ opcode: nvme_io_opcode, _ action: UInt32, _ type: UInt32 = 0, ignoresKey: Bool = false,
        persistence: nvme_resv_cptpl = NVME_RESERVATION_CPTPL_NO_CHANGE, nsid: UInt32
    ) -> RawCommand {
        let flags = (ignoresKey ? 1 << 3 : 0) | persistence.rawValue << 30
        return RawCommand(opcode: opcode.rawValue, nsid: nsid).with(10, action | type << 8 | flags)
    }

    func register(
        _ action: nvme_resv_rrega, current: UInt64 = 0, new: UInt64 = 0, ignoresKey: Bool = false,
        persistence: nvme_resv_cptpl = NVME_RESERVATION_CPTPL_NO_CHANGE
    ) throws -> RawStatus {
        let command = Self.command(
            nvme_cmd_resv_register, action.rawValue, ignoresKey: ignoresKey, persistence: persistence, nsid: nsid)
        return try host.execute(command, Self.keys(current, new))
    }

    func join(_ key: UInt64) throws {
        let status = try register(NVME_RESERVATION_RREGA_REGISTER_KEY, new: key)
        guard status == .success else { throw WorldError("register: \(status)") }
    }

    func acquire(
        _ action: nvme_resv_racqa, _ type: nvme_resv_rtype, key: UInt64, preempting: UInt64 = 0,
        ignoresKey: Bool = false
    ) throws -> RawStatus {
        let command = Self.command(
            nvme_cmd_resv_acquire, action.rawValue, type.rawValue, ignoresKey: ignoresKey, nsid: nsid)
        return try host.execute(command, Self.keys(key, preempting))
    }

    func hold(_ type: nvme_resv_rtype, key: UInt64) throws {
        let status = try acquire(NVME_RESERVATION_RACQA_ACQUIRE, type, key: key)
        guard status == .success else { throw WorldError("acquire: \(status)") }
    }

    func release(
        _ action: nvme_resv_rrela, _ type: nvme_resv_rtype, key: UInt64, ignoresKey: Bool = false
    ) throws -> RawStatus {
        let command = Self.command(
            nvme_cmd_resv_release, action.rawValue, type.rawValue, ignoresKey: ignoresKey, nsid: nsid)
        return try host.execute(command, Self.keys(key))
    }

    // MARK: What the host may do

    /// The statuses of a read, a write, and a Compare, which reads, on every queue: they are the same on all.
    func statuses() throws -> (read: RawStatus, write: RawStatus) {
        let block = InProcessData.fromHost([UInt8](repeating: 0, count: 512))
        func one(_ opcode: nvme_io_opcode, _ data: InProcessData) throws -> RawStatus {
            let all = try host.io.indices.map { try host.execute(.io(opcode, nsid: nsid), data, queue: $0) }
            guard all.allSatisfy({ $0 == all[0] }) else { throw WorldError("the queues differ: \(all)") }
            return all[0]
        }
        let (write, read) = (try one(nvme_cmd_write, block), try one(nvme_cmd_read, .toHost(512)))
        guard try one(nvme_cmd_write_zeroes, .none) == write else {
            throw WorldError("Write Zeroes is not treated as a write")
        }
        guard try one(nvme_cmd_compare, block) == read else { throw WorldError("Compare is not treated as a read") }
        return (read, write)
    }

    /// Whether the host may read and write; a refusal is "Reservation Conflict".
    func access() throws -> Access {
        let found = try statuses()
        for status in [found.read, found.write] where status != .success && status != Self.conflict {
            throw WorldError("an I/O ended with \(status)")
        }
        return Access(reads: found.read == .success, writes: found.write == .success)
    }

    struct Access: Equatable {
        var reads: Bool
        var writes: Bool

        static let all = Access(reads: true, writes: true)
        static let read = Access(reads: true, writes: false)
        static let none = Access(reads: false, writes: false)
    }

    // MARK: Report

    /// Reservation Report with the extended structure (EDS, bit 0 of dword 11).
    static func report(nsid: UInt32) -> RawCommand {
        RawCommand(opcode: nvme_cmd_resv_report.rawValue, nsid: nsid).with(10, 4096 / 4 - 1).with(11, 1)
    }

    /// A report, taken apart as libnvme's structures lay it out.
    func report() throws -> Report {
        let (completion, page) = try host.world.execute(Self.report(nsid: nsid), .toHost(4096), on: host.io[0])
        guard completion.isSuccess else { throw WorldError("report: \(completion.status)") }
        func head<Field>(_ path: KeyPath<nvme_resv_status, Field>) -> UInt64 {
            page.number(MemoryLayout<nvme_resv_status>.offset(of: path)!, MemoryLayout<Field>.size)
        }
        let registrants = page.withUnsafeBytes { bytes in
            (0..<Int(head(\.regctl))).map { index in
                // The registrants of the extended structure begin at byte 64.
                let place = 64 + index * MemoryLayout<nvme_registered_ctrl_ext>.size
                let one = bytes.loadUnaligned(fromByteOffset: place, as: nvme_registered_ctrl_ext.self)
                return Report.Registrant(
                    controllerID: one.cntlid, isHolder: one.rcsts & 1 == 1, key: one.rkey,
                    hostID: withUnsafeBytes(of: one.hostid) { Array($0) })
            }
        }
        return Report(
            generation: UInt32(head(\.gen)), type: UInt32(head(\.rtype)), persists: head(\.ptpls) == 1,
            registrants: registrants)
    }

    struct Report: Equatable {
        var generation: UInt32
        var type: UInt32
        var persists: Bool
        var registrants: [Registrant]

        struct Registrant: Equatable {
            var controllerID: UInt16
            var isHolder: Bool
            var key: UInt64
            var hostID: [UInt8]
        }

        var keys: Set<UInt64> { Set(registrants.map(\.key)) }
        var holders: Set<UInt64> { Set(registrants.filter(\.isHolder).map(\.key)) }
    }
}

/// Reservations that outlive a target, in memory. A store that hangs answers when it is told to.
final class KeptReservations: ReservationStore {
    private let kept = Mutex<[UInt32: [UInt8]]>([:])
    private let waiting = Mutex<[@Sendable (String?) -> Void]>([])
    private let hangs: Bool
    var waitingCount: Int { waiting.withLock { $0.count } }

    init(hangs: Bool = false) { self.hangs = hangs }

    func load(subsystem: String, nsid: UInt32) throws -> [UInt8]? { kept.withLock { $0[nsid] } }

    func save(
        _ bytes: [UInt8]?, subsystem: String, nsid: UInt32, completion: @escaping @Sendable (String?) -> Void
    ) {
        kept.withLock { $0[nsid] = bytes }
        waiting.withLock { $0.append(completion) }
        if !hangs { answer() }
    }

    /// Answers all that wait.
    func answer() {
        let all = waiting.withLock { waiting in
            defer { waiting = [] }
            return waiting
        }
        for completion in all { completion(nil) }
    }
}
