import CLibNVMe

/// A submission queue entry as bytes: nothing of it is made by the code under test.
struct RawCommand {
    var bytes = [UInt8](repeating: 0, count: 64)

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// - Parameter flags: PSDT 01b, an SGL, unless a test wants something else.
    init(opcode: UInt32, nsid: UInt32 = 0, flags: UInt8 = 0x40) {
        bytes[0] = UInt8(opcode)
        bytes[1] = flags
        self[dword: 1] = nsid
        // No data: a keyed data block of length 0, as Linux sends it.
        sgl = RawSGL.keyed(address: 0, length: 0, key: 0)
    }

    static func fabrics(_ type: nvme_fctype) -> RawCommand {
        RawCommand(opcode: nvme_admin_fabrics.rawValue, nsid: type.rawValue)
    }

    subscript(dword index: Int) -> UInt32 {
        get { UInt32(bytes.number(index * 4, 4)) }
        set { bytes.replaceSubrange(index * 4..<index * 4 + 4, with: RawSGL.little(UInt64(newValue), 4)) }
    }

    var id: UInt16 {
        get { UInt16(bytes.number(2, 2)) }
        set { bytes.replaceSubrange(2..<4, with: RawSGL.little(UInt64(newValue), 2)) }
    }

    var sgl: [UInt8] {
        get { Array(bytes[24..<40]) }
        set { bytes.replaceSubrange(24..<40, with: newValue) }
    }

    /// SLBA and NLB (0-based) of a read, write, compare, write zeroes or verify.
    func range(_ lba: UInt64, _ blocks: Int, control: UInt32 = 0) -> RawCommand {
        with(10, UInt32(truncatingIfNeeded: lba)).with(11, UInt32(lba >> 32)).with(12, UInt32(blocks - 1) | control)
    }

    func with(sgl: [UInt8]) -> RawCommand {
        var command = self
        command.sgl = sgl
        return command
    }

    /// With its data in a host's memory.
    func at(_ host: RawHost, _ offset: Int, _ length: Int, type: UInt8 = 0x40) -> RawCommand {
        with(sgl: host.keyed(offset, length, type: type))
    }

    /// A read, write, compare, write zeroes or verify.
    static func io(
        _ opcode: nvme_io_opcode, _ lba: UInt64 = 0, _ blocks: Int = 1, nsid: UInt32 = 1, flags: UInt8 = 0x40
    ) -> RawCommand {
        RawCommand(opcode: opcode.rawValue, nsid: nsid, flags: flags).range(lba, blocks)
    }

    static func flush(_ nsid: UInt32 = 1) -> RawCommand { RawCommand(opcode: nvme_cmd_flush.rawValue, nsid: nsid) }
    static var keepAlive: RawCommand { RawCommand(opcode: nvme_admin_keep_alive.rawValue) }
    static var event: RawCommand { RawCommand(opcode: nvme_admin_async_event.rawValue) }

    /// Dataset Management with AD, bit 2 of dword 11: deallocate.
    static func deallocate(ranges: Int, nsid: UInt32 = 1) -> RawCommand {
        RawCommand(opcode: nvme_cmd_dsm.rawValue, nsid: nsid).with(10, UInt32(ranges - 1)).with(11, 1 << 2)
    }

    /// A range of Dataset Management: context attributes, length, first block.
    static func range(_ lba: UInt64, _ blocks: UInt32) -> [UInt8] {
        RawSGL.little(0, 4) + RawSGL.little(UInt64(blocks), 4) + RawSGL.little(lba, 8)
    }

    static func abort(_ id: UInt16, sq: Int) -> RawCommand {
        RawCommand(opcode: nvme_admin_abort_cmd.rawValue).with(10, UInt32(sq) | UInt32(id) << 16)
    }

    static func identify(_ cns: nvme_identify_cns = NVME_IDENTIFY_CNS_CTRL, nsid: UInt32 = 0) -> RawCommand {
        RawCommand(opcode: nvme_admin_identify.rawValue, nsid: nsid).with(10, cns.rawValue)
    }

    func with(_ index: Int, _ value: UInt32) -> RawCommand {
        var command = self
        command[dword: index] = value
        return command
    }
}

/// SGL descriptors as bytes (NVMe Base, "SGL Descriptor Format"; type in the high half of the last byte).
enum RawSGL {
    static func keyed(address: UInt64, length: Int, key: UInt32, type: UInt8 = 0x40) -> [UInt8] {
        little(address, 8) + little(UInt64(length), 3) + little(UInt64(key), 4) + [type]
    }

    /// A data block (type 01h) or, as 31h, a last segment, at an offset of the capsule.
    static func offset(_ offset: UInt64, length: UInt32, type: UInt8 = 0x01) -> [UInt8] {
        little(offset, 8) + little(UInt64(length), 4) + [0, 0, 0, type]
    }

    /// The descriptors of so many bytes behind the command.
    static func list(_ bytes: Int) -> [UInt8] { offset(0, length: UInt32(bytes), type: 0x31) }

    static func little(_ value: UInt64, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) }
    }
}

/// A status as the completion carries it: the type in bits 10:8, the code in bits 7:0, as libnvme writes it.
struct RawStatus: Equatable, CustomStringConvertible {
    var code: UInt32
    var doNotRetry = false

    static let success = RawStatus(code: 0)

    /// A generic command status of a command that is never right.
    static func refused(_ value: nvme_status_field) -> RawStatus {
        RawStatus(code: value.rawValue, doNotRetry: true)
    }

    /// A generic command status.
    static func generic(_ value: nvme_status_field) -> RawStatus { RawStatus(code: value.rawValue) }

    /// A command specific status.
    static func specific(_ value: nvme_status_field, doNotRetry: Bool = false) -> RawStatus {
        RawStatus(code: NVME_SCT_CMD_SPECIFIC.rawValue << 8 | value.rawValue, doNotRetry: doNotRetry)
    }

    /// A media and data integrity error.
    static func media(_ value: nvme_status_field, doNotRetry: Bool = false) -> RawStatus {
        RawStatus(code: NVME_SCT_MEDIA.rawValue << 8 | value.rawValue, doNotRetry: doNotRetry)
    }

    var description: String { String(code, radix: 16) + (doNotRetry ? "h, DNR" : "h") }
}

/// A completion queue entry, taken apart.
struct RawCompletion: Equatable {
    var dword0: UInt32
    var dword1: UInt32
    var sqHead: UInt16
    var commandID: UInt16
    var status: RawStatus

    var isSuccess: Bool { status.code == 0 }

    init(_ bytes: [UInt8]) {
        func field(_ offset: Int, _ count: Int) -> UInt32 { UInt32(bytes.number(offset, count)) }
        dword0 = field(0, 4)
        dword1 = field(4, 4)
        sqHead = UInt16(field(8, 2))
        commandID = UInt16(field(12, 2))
        let status = field(14, 2)
        self.status = RawStatus(code: status >> 1 & 0x7FF, doNotRetry: status >> 15 != 0)
    }
}
