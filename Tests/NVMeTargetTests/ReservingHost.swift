import CLibNVMe
import Synchronization
import TargetInterface

/// A host that registers, reserves, reads and writes. Commands are bytes with libnvme's numbers in them.
struct ReservingHost {
    let world: TargetWorld
    let attached: AttachedHost
    var nsid: UInt32 = 1

    static let conflict = RawStatus(code: NVME_SC_RESERVATION_CONFLICT.rawValue, doNotRetry: true)
    static let invalid = RawStatus(code: NVME_SC_INVALID_FIELD.rawValue, doNotRetry: true)

    var id: [UInt8] { attached.host.id }

    /// - Parameter ignoresKey: IEKEY, dword 10 bit 3. CPTPL is in bits 31:30.
    func register(
        _ action: nvme_resv_rrega, current: UInt64 = 0, new: UInt64 = 0, ignoresKey: Bool = false,
        persistence: nvme_resv_cptpl = NVME_RESERVATION_CPTPL_NO_CHANGE
    ) throws -> RawStatus {
        let dword10 = action.rawValue | (ignoresKey ? 1 << 3 : 0) | persistence.rawValue << 30
        return try reserve(nvme_cmd_resv_register, dword10, current, new)
    }

    func join(_ key: UInt64) throws {
        let status = try register(NVME_RESERVATION_RREGA_REGISTER_KEY, new: key)
        guard status == .success else { throw WorldError("register: \(status)") }
    }

    /// RTYPE is in bits 15:8.
    func acquire(
        _ action: nvme_resv_racqa, _ type: nvme_resv_rtype, key: UInt64, preempting: UInt64 = 0,
        ignoresKey: Bool = false
    ) throws -> RawStatus {
        let dword10 = action.rawValue | (ignoresKey ? 1 << 3 : 0) | type.rawValue << 8
        return try reserve(nvme_cmd_resv_acquire, dword10, key, preempting)
    }

    func hold(_ type: nvme_resv_rtype, key: UInt64) throws {
        let status = try acquire(NVME_RESERVATION_RACQA_ACQUIRE, type, key: key)
        guard status == .success else { throw WorldError("acquire: \(status)") }
    }

    func release(
        _ action: nvme_resv_rrela, _ type: nvme_resv_rtype, key: UInt64, ignoresKey: Bool = false
    ) throws -> RawStatus {
        try reserve(
            nvme_cmd_resv_release, action.rawValue | (ignoresKey ? 1 << 3 : 0) | type.rawValue << 8, key, nil)
    }

    /// Sends a reservation command whose answer is awaited elsewhere.
    func begin(_ action: nvme_resv_racqa, _ type: nvme_resv_rtype, key: UInt64, preempting: UInt64) -> UInt16 {
        attached.io[0].send(
            command(nvme_cmd_resv_acquire, action.rawValue | type.rawValue << 8, keys(key, preempting)))
    }

    private func reserve(
        _ opcode: nvme_io_opcode, _ dword10: UInt32, _ first: UInt64, _ second: UInt64?
    ) throws -> RawStatus {
        try world.execute(attached.io[0], command(opcode, dword10, keys(first, second))).status
    }

    private func keys(_ first: UInt64, _ second: UInt64?) -> [UInt8] {
        RawSGL.little(first, 8) + (second.map { RawSGL.little($0, 8) } ?? [])
    }

    private func command(_ opcode: nvme_io_opcode, _ dword10: UInt32, _ data: [UInt8]) -> RawCommand {
        let offset = attached.scratch(4096)
        UnsafeMutableRawBufferPointer(rebasing: attached.host.memory[offset..<offset + data.count])
            .copyBytes(from: data)
        return RawCommand(opcode: opcode.rawValue, nsid: nsid).with(10, dword10)
            .with(sgl: attached.host.keyed(offset, data.count))
    }

    // MARK: What the host may do

    /// The statuses of a read, a write, and a Compare, which reads, on every queue: they are the same on all.
    func statuses() throws -> (read: RawStatus, write: RawStatus) {
        let sgl = attached.host.keyed(attached.scratch(4096) + 8192, 512)
        func one(_ opcode: nvme_io_opcode) throws -> RawStatus {
            let all = try attached.io.map {
                try world.execute($0, RawCommand(opcode: opcode.rawValue, nsid: nsid).range(0, 1).with(sgl: sgl)).status
            }
            guard all.allSatisfy({ $0 == all[0] }) else { throw WorldError("the queues differ: \(all)") }
            return all[0]
        }
        let read = try one(nvme_cmd_read)
        guard try one(nvme_cmd_compare) == read else { throw WorldError("Compare is not treated as a read") }
        let write = try one(nvme_cmd_write)
        guard try one(nvme_cmd_write_zeroes) == write else {
            throw WorldError("Write Zeroes is not treated as a write")
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
        let offset = attached.scratch(4096)
        let command = RawCommand(opcode: nvme_cmd_resv_report.rawValue, nsid: nsid).with(10, 4096 / 4 - 1).with(11, 1)
            .with(sgl: attached.host.keyed(offset, 4096))
        let status = try world.execute(attached.io[0], command).status
        guard status == .success else { throw WorldError("report: \(status)") }
        let page = UnsafeRawBufferPointer(rebasing: attached.host.memory[offset..<offset + 4096])
        func field<Whole, Field>(_ path: KeyPath<Whole, Field>, _ base: Int = 0) -> Int {
            base + MemoryLayout<Whole>.offset(of: path)!
        }
        let count = Int(page.loadUnaligned(fromByteOffset: field(\nvme_resv_status.regctl), as: UInt16.self))
        return Report(
            generation: page.load(fromByteOffset: field(\nvme_resv_status.gen), as: UInt32.self),
            type: page.load(fromByteOffset: field(\nvme_resv_status.rtype), as: UInt8.self),
            persists: page.load(fromByteOffset: field(\nvme_resv_status.ptpls), as: UInt8.self) == 1,
            registrants: (0..<count).map { index in
                // The registrants of the extended structure begin at byte 64.
                let base = 64 + index * MemoryLayout<nvme_registered_ctrl_ext>.size
                let hostID = field(\nvme_registered_ctrl_ext.hostid, base)
                return Report.Registrant(
                    controllerID: page.load(
                        fromByteOffset: field(\nvme_registered_ctrl_ext.cntlid, base), as: UInt16.self),
                    isHolder: page[field(\nvme_registered_ctrl_ext.rcsts, base)] & 1 == 1,
                    key: page.load(fromByteOffset: field(\nvme_registered_ctrl_ext.rkey, base), as: UInt64.self),
                    hostID: Array(page[hostID..<hostID + 16]))
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
