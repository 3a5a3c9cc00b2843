import CLibNVMe
import InProcessTransport
import Synchronization
import TargetInterface
import Testing

/// A host that registers, reserves, reads and writes. Commands are bytes with libnvme's numbers in them.
struct ReservingHost {
    let host: EngineHost
    var nsid: UInt32 = 1

    init(_ host: EngineHost, nsid: UInt32 = 1) { (self.host, self.nsid) = (host, nsid) }

    static let conflict = RawStatus.refused(NVME_SC_RESERVATION_CONFLICT)
    static let internalError = RawStatus.generic(NVME_SC_INTERNAL)
    /// Asymmetric Access Inaccessible, a path related status.
    static let inaccessible = RawStatus(code: NVME_SCT_PATH.rawValue << 8 | NVME_SC_ANA_INACCESSIBLE.rawValue)
    static let invalid = RawStatus.refused(NVME_SC_INVALID_FIELD)
    /// IEKEY, bit 3 of dword 10.
    static let ignoringKey: UInt32 = 1 << 3

    /// CPTPL, bits 31:30 of dword 10.
    static let (persist, doNotPersist) = (
        NVME_RESERVATION_CPTPL_PERSIST.rawValue << 30, NVME_RESERVATION_CPTPL_CLEAR.rawValue << 30
    )

    /// Dword 10 has the action and, in bits 15:8, RTYPE.
    func send(
        _ opcode: nvme_io_opcode, _ action: UInt32, _ type: UInt32 = 0, keys: UInt64..., flags: UInt32 = 0
    ) -> UInt16 {
        let command = RawCommand(opcode: opcode.rawValue, nsid: nsid).with(10, action | type << 8 | flags)
        return host.send(command, .fromHost(keys.flatMap { little($0, 8) }))
    }

    func register(_ action: nvme_resv_rrega, current: UInt64 = 0, new: UInt64 = 0, flags: UInt32 = 0) -> RawStatus? {
        host.status(of: send(nvme_cmd_resv_register, action.rawValue, keys: current, new, flags: flags))
    }

    func acquire(
        _ action: nvme_resv_racqa, _ type: nvme_resv_rtype, key: UInt64, preempting: UInt64 = 0, flags: UInt32 = 0
    ) -> RawStatus? {
        let id = send(nvme_cmd_resv_acquire, action.rawValue, type.rawValue, keys: key, preempting, flags: flags)
        return host.status(of: id)
    }

    func release(_ action: nvme_resv_rrela, _ type: nvme_resv_rtype, key: UInt64, flags: UInt32 = 0) -> RawStatus? {
        host.status(of: send(nvme_cmd_resv_release, action.rawValue, type.rawValue, keys: key, flags: flags))
    }

    func join(_ key: UInt64) throws {
        try #require(register(NVME_RESERVATION_RREGA_REGISTER_KEY, new: key) == .success)
    }

    func hold(_ type: nvme_resv_rtype, key: UInt64) throws {
        try #require(acquire(NVME_RESERVATION_RACQA_ACQUIRE, type, key: key) == .success)
    }

    struct Access: Equatable {
        let read, write: RawStatus

        static let all = Access(read: .success, write: .success)
        static let read = Access(read: .success, write: conflict)
        static let none = Access(read: conflict, write: conflict)
    }

    /// The statuses of a read, a write, and a Compare, which reads, on every queue: they are the same on all.
    func access() throws -> Access {
        func status(_ opcode: nvme_io_opcode, _ data: InProcessData) throws -> RawStatus {
            let all = try host.io.indices.map { try host.execute(.io(opcode, nsid: nsid), data, queue: $0) }
            guard all.allSatisfy({ $0 == all[0] }) else { throw WorldError("the queues differ: \(all)") }
            return all[0]
        }
        let block = InProcessData.fromHost(.blocks(of: 0))
        let (write, read) = (try status(nvme_cmd_write, block), try status(nvme_cmd_read, .toHost(512)))
        guard try status(nvme_cmd_write_zeroes, .none) == write else {
            throw WorldError("Write Zeroes is not treated as a write")
        }
        guard try status(nvme_cmd_compare, block) == read else { throw WorldError("Compare is not treated as a read") }
        return Access(read: read, write: write)
    }

    /// Reservation Report with the extended structure (EDS, bit 0 of dword 11).
    static func report(nsid: UInt32, bytes: Int = 4096) -> RawCommand {
        RawCommand(opcode: nvme_cmd_resv_report.rawValue, nsid: nsid).with(10, UInt32(bytes) / 4 - 1).with(11, 1)
    }

    /// A report, taken apart as libnvme's structures lay it out.
    func report(bytes: Int = 4096) throws -> Report {
        let command = Self.report(nsid: nsid, bytes: bytes)
        let page = try host.world.succeed(command, .toHost(bytes), on: host.io[0]).data
        return page.withUnsafeBytes { bytes in
            let head = bytes.loadUnaligned(as: nvme_resv_status.self)
            let registrants = (0..<Int(head.regctl.0) | Int(head.regctl.1) << 8).map { index in
                // The registrants of the extended structure begin at byte 64.
                let place = 64 + index * MemoryLayout<nvme_registered_ctrl_ext>.size
                let one = bytes.loadUnaligned(fromByteOffset: place, as: nvme_registered_ctrl_ext.self)
                return Report.Registrant(
                    controllerID: one.cntlid, isHolder: one.rcsts & 1 == 1, key: one.rkey,
                    hostID: withUnsafeBytes(of: one.hostid) { Array($0) })
            }
            return Report(
                generation: head.gen, type: UInt32(head.rtype), persists: head.ptpls == 1, registrants: registrants)
        }
    }

    struct Report: Equatable {
        var generation, type: UInt32
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

        func has(keys: Set<UInt64>, holders: Set<UInt64>, _ type: nvme_resv_rtype) -> Bool {
            self.keys == keys && self.holders == holders && self.type == type.rawValue
        }
    }
}

/// Reservations that outlive a target, in memory. A store that hangs stores and answers when it is told to. One with a problem stores nothing.
final class KeptReservations: ReservationStore {
    private let kept = Mutex<[UInt32: [UInt8]]>([:])
    private let waiting = Mutex<[@Sendable (String?) -> Void]>([])
    private let hangs: Bool
    private let saves = Mutex(0)
    var saveCount: Int { saves.withLock { $0 } }
    var waitingCount: Int { waiting.withLock { $0.count } }

    /// Other targets may go on with the namespaces.
    let keepsAll: Bool
    private let problem: Mutex<String?>

    init(hangs: Bool = false, keepsAll: Bool = false, problem: String? = nil) {
        (self.hangs, self.keepsAll) = (hangs, keepsAll)
        self.problem = Mutex(problem)
    }

    func overcomeProblem() { problem.withLock { $0 = nil } }

    func load(subsystem: String, nsid: UInt32) throws -> [UInt8]? { kept.withLock { $0[nsid] } }

    func save(
        _ bytes: (@Sendable () -> [UInt8])?, subsystem: String, nsid: UInt32,
        completion: @escaping @Sendable (String?) -> Void
    ) {
        saves.withLock { $0 += 1 }
        waiting.withLock {
            $0.append { problem in
                if problem == nil { self.kept.withLock { $0[nsid] = bytes?() } }
                completion(problem)
            }
        }
        if !hangs { answer() }
    }

    /// Stores and answers all that wait.
    func answer() {
        while let next = waiting.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) { next(problem.withLock { $0 }) }
    }
}
