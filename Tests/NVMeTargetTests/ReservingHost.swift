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

    /// - Parameter ignoresKey: IEKEY, dword 10 bit 3. CPTPL is in bits 31:30.
    static func register(
        _ action: nvme_resv_rrega, ignoresKey: Bool = false, persistence: nvme_resv_cptpl, nsid: UInt32
    ) -> RawCommand {
        RawCommand(opcode: nvme_cmd_resv_register.rawValue, nsid: nsid)
            .with(10, action.rawValue | (ignoresKey ? 1 << 3 : 0) | persistence.rawValue << 30)
    }

    static func keys(_ keys: UInt64...) -> [UInt8] { keys.flatMap { RawSGL.little($0, 8) } }

    func register(
        _ action: nvme_resv_rrega, current: UInt64 = 0, new: UInt64 = 0, ignoresKey: Bool = false,
        persistence: nvme_resv_cptpl = NVME_RESERVATION_CPTPL_NO_CHANGE
    ) throws -> RawStatus {
        let command = Self.register(action, ignoresKey: ignoresKey, persistence: persistence, nsid: nsid)
        return try host.execute(command, .fromHost(Self.keys(current, new)))
    }

    func join(_ key: UInt64) throws {
        let status = try register(NVME_RESERVATION_RREGA_REGISTER_KEY, new: key)
        guard status == .success else { throw WorldError("register: \(status)") }
    }

    /// RTYPE is in bits 15:8.
    private func acquire(_ action: nvme_resv_racqa, _ type: nvme_resv_rtype) -> RawCommand {
        RawCommand(opcode: nvme_cmd_resv_acquire.rawValue, nsid: nsid).with(10, action.rawValue | type.rawValue << 8)
    }

    func acquire(
        _ action: nvme_resv_racqa, _ type: nvme_resv_rtype, key: UInt64, preempting: UInt64 = 0,
        ignoresKey: Bool = false
    ) throws -> RawStatus {
        var command = acquire(action, type)
        if ignoresKey { command[dword: 10] |= 1 << 3 }
        return try host.execute(command, .fromHost(Self.keys(key, preempting)))
    }

    func hold(_ type: nvme_resv_rtype, key: UInt64) throws {
        let status = try acquire(NVME_RESERVATION_RACQA_ACQUIRE, type, key: key)
        guard status == .success else { throw WorldError("acquire: \(status)") }
    }

    func release(
        _ action: nvme_resv_rrela, _ type: nvme_resv_rtype, key: UInt64, ignoresKey: Bool = false
    ) throws -> RawStatus {
        let command = RawCommand(opcode: nvme_cmd_resv_release.rawValue, nsid: nsid)
            .with(10, action.rawValue | (ignoresKey ? 1 << 3 : 0) | type.rawValue << 8)
        return try host.execute(command, .fromHost(Self.keys(key)))
    }

    /// Sends a reservation command whose answer is awaited elsewhere.
    func begin(_ action: nvme_resv_racqa, _ type: nvme_resv_rtype, key: UInt64, preempting: UInt64) -> UInt16 {
        host.world.send(acquire(action, type), .fromHost(Self.keys(key, preempting)), on: host.io[0])
    }

    // MARK: What the host may do

    /// The statuses of a read, a write, and a Compare, which reads, on every queue: they are the same on all.
    func statuses() throws -> (read: RawStatus, write: RawStatus) {
        let block = [UInt8](repeating: 0, count: 512)
        func one(_ opcode: nvme_io_opcode, _ data: InProcessData) throws -> RawStatus {
            let all = try host.io.indices.map { try host.execute(.io(opcode, nsid: nsid), data, queue: $0) }
            guard all.allSatisfy({ $0 == all[0] }) else { throw WorldError("the queues differ: \(all)") }
            return all[0]
        }
        let write = try one(nvme_cmd_write, .fromHost(block))
        let read = try one(nvme_cmd_read, .toHost(512))
        guard try one(nvme_cmd_write_zeroes, .none) == write else {
            throw WorldError("Write Zeroes is not treated as a write")
        }
        guard try one(nvme_cmd_compare, .fromHost(block)) == read else {
            throw WorldError("Compare is not treated as a read")
        }
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

    /// Reservation Report with the extended structure, taken apart as libnvme's structures lay it out.
    func report() throws -> Report {
        let command = RawCommand(opcode: nvme_cmd_resv_report.rawValue, nsid: nsid).with(10, 4096 / 4 - 1).with(11, 1)
        let (completion, page) = try host.world.execute(command, .toHost(4096), on: host.io[0])
        guard completion.isSuccess else { throw WorldError("report: \(completion.status)") }
        func field<Whole, Field>(_ path: KeyPath<Whole, Field>, _ base: Int = 0) -> UInt64 {
            page.number(base + MemoryLayout<Whole>.offset(of: path)!, MemoryLayout<Field>.size)
        }
        return Report(
            generation: UInt32(field(\nvme_resv_status.gen)), type: UInt8(field(\nvme_resv_status.rtype)),
            persists: field(\nvme_resv_status.ptpls) == 1,
            registrants: (0..<Int(page.number(MemoryLayout<nvme_resv_status>.offset(of: \.regctl)!, 2))).map { index in
                // The registrants of the extended structure begin at byte 64.
                let base = 64 + index * MemoryLayout<nvme_registered_ctrl_ext>.size
                let hostID = base + MemoryLayout<nvme_registered_ctrl_ext>.offset(of: \.hostid)!
                return Report.Registrant(
                    controllerID: UInt16(field(\nvme_registered_ctrl_ext.cntlid, base)),
                    isHolder: field(\nvme_registered_ctrl_ext.rcsts, base) & 1 == 1,
                    key: field(\nvme_registered_ctrl_ext.rkey, base), hostID: Array(page[hostID..<hostID + 16]))
            })
    }

    struct Report: Equatable {
        var generation: UInt32
        var type: UInt8
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

extension AttachedHost {
    /// Registers a key with namespace 1.
    func join(_ key: UInt64, _ world: TargetWorld) throws {
        let offset = scratch(4096)
        host.fill(offset, ReservingHost.keys(0, key))
        let command = ReservingHost.register(
            NVME_RESERVATION_RREGA_REGISTER_KEY, persistence: NVME_RESERVATION_CPTPL_NO_CHANGE, nsid: 1)
        let status = try world.execute(io[0], command.at(host, offset, 16)).status
        guard status == .success else { throw WorldError("register: \(status)") }
    }
}

/// Reservations that outlive a target, in memory.
final class KeptReservations: ReservationStore {
    private let kept = Mutex<[UInt32: [UInt8]]>([:])

    func load(subsystem: String, nsid: UInt32) throws -> [UInt8]? { kept.withLock { $0[nsid] } }

    func save(
        _ bytes: [UInt8]?, subsystem: String, nsid: UInt32, completion: @escaping @Sendable (String?) -> Void
    ) {
        kept.withLock { $0[nsid] = bytes }
        completion(nil)
    }
}
