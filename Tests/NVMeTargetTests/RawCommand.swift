import CLibNVMe
import InProcessTransport

/// A submission queue entry as bytes: nothing of it is made by the code under test.
struct RawCommand {
    var bytes = [UInt8](repeating: 0, count: 64)

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// - Parameter flags: PSDT 01b, an SGL, unless a test wants something else.
    init(opcode: UInt32, nsid: UInt32 = 0, flags: UInt8 = 0x40) {
        bytes[0] = UInt8(opcode)
        bytes[1] = flags
        // No data: a keyed data block of length 0, as Linux sends it.
        self = with(1, nsid).with(sgl: RawSGL.keyed(address: 0, length: 0, key: 0))
    }

    private func with(_ part: [UInt8], at offset: Int) -> RawCommand {
        var command = self
        command.bytes.replaceSubrange(offset..<offset + part.count, with: part)
        return command
    }

    func with(_ dword: Int, _ value: UInt32) -> RawCommand { with(little(value, 4), at: 4 * dword) }
    func with(id: UInt16) -> RawCommand { with(little(id, 2), at: 2) }
    func with(sgl: [UInt8]) -> RawCommand { with(sgl, at: 24) }

    /// With its data in a host's memory.
    func at(_ host: RawHost, _ offset: Int, _ length: Int, type: UInt8 = 0x40) -> RawCommand {
        with(sgl: host.keyed(offset, length, type: type))
    }

    /// SLBA and NLB (0-based) of a read, write, compare, write zeroes or verify.
    func range(_ lba: UInt64, _ blocks: Int, control: UInt32 = 0) -> RawCommand {
        with(10, UInt32(truncatingIfNeeded: lba)).with(11, UInt32(lba >> 32)).with(12, UInt32(blocks - 1) | control)
    }

    // MARK: I/O

    static func io(
        _ opcode: nvme_io_opcode, _ lba: UInt64 = 0, _ blocks: Int = 1, nsid: UInt32 = 1, flags: UInt8 = 0x40
    ) -> RawCommand {
        RawCommand(opcode: opcode.rawValue, nsid: nsid, flags: flags).range(lba, blocks)
    }

    static func flush(_ nsid: UInt32 = 1) -> RawCommand { RawCommand(opcode: nvme_cmd_flush.rawValue, nsid: nsid) }

    /// Dataset Management with AD, bit 2 of dword 11: deallocate.
    static func deallocate(ranges: Int, nsid: UInt32 = 1) -> RawCommand {
        RawCommand(opcode: nvme_cmd_dsm.rawValue, nsid: nsid).with(10, UInt32(ranges - 1)).with(11, 1 << 2)
    }

    /// A range of Dataset Management: context attributes, length, first block.
    static func range(_ lba: UInt64, _ blocks: UInt32) -> [UInt8] {
        little(0, 4) + little(blocks, 4) + little(lba, 8)
    }

    // MARK: Fabrics and administration

    static func fabrics(_ type: nvme_fctype) -> RawCommand {
        RawCommand(opcode: nvme_admin_fabrics.rawValue, nsid: type.rawValue)
    }

    /// Property Set of CC (offset 14h).
    static func configure(_ value: UInt32) -> RawCommand {
        fabrics(nvme_fabrics_type_property_set).with(11, NVME_REG_CC.rawValue).with(12, value)
    }

    /// CC.EN with IOSQES 6 and IOCQES 4.
    static var enable: RawCommand { configure(0x0046_0001) }

    static func getProperty(_ register: nvme_register_offsets) -> RawCommand {
        fabrics(nvme_fabrics_type_property_get).with(11, register.rawValue)
    }

    static func setFeature(_ feature: nvme_features_id, _ value: UInt32) -> RawCommand {
        RawCommand(opcode: nvme_admin_set_features.rawValue).with(10, feature.rawValue).with(11, value)
    }

    static func getFeature(_ feature: nvme_features_id, nsid: UInt32 = 0) -> RawCommand {
        RawCommand(opcode: nvme_admin_get_features.rawValue, nsid: nsid).with(10, feature.rawValue)
    }

    static func getLog(_ page: nvme_cmd_get_log_lid, bytes: Int, nsid: UInt32 = 0xFFFF_FFFF) -> RawCommand {
        let dwords = UInt32(bytes / 4 - 1)
        return RawCommand(opcode: nvme_admin_get_log_page.rawValue, nsid: nsid)
            .with(10, page.rawValue | (dwords & 0xFFFF) << 16).with(11, dwords >> 16)
    }

    static func identify(_ cns: nvme_identify_cns = NVME_IDENTIFY_CNS_CTRL, nsid: UInt32 = 0) -> RawCommand {
        RawCommand(opcode: nvme_admin_identify.rawValue, nsid: nsid).with(10, cns.rawValue)
    }

    static func abort(_ id: UInt16, sq: Int) -> RawCommand {
        RawCommand(opcode: nvme_admin_abort_cmd.rawValue).with(10, UInt32(sq) | UInt32(id) << 16)
    }

    static func manage(_ action: nvme_ns_mgmt_sel, nsid: UInt32 = 0) -> RawCommand {
        RawCommand(opcode: nvme_admin_ns_mgmt.rawValue, nsid: nsid).with(10, action.rawValue)
    }

    static func attachment(_ action: nvme_ns_attach_sel, nsid: UInt32) -> RawCommand {
        RawCommand(opcode: nvme_admin_ns_attach.rawValue, nsid: nsid).with(10, action.rawValue)
    }

    static var keepAlive: RawCommand { RawCommand(opcode: nvme_admin_keep_alive.rawValue) }
    static var event: RawCommand { RawCommand(opcode: nvme_admin_async_event.rawValue) }
}

extension InProcessData {
    /// NSZE and NCAP of a namespace that is to be made, changed as a test wants it.
    static func create(_ blocks: UInt64, _ change: (inout [UInt8]) -> Void = { _ in }) -> InProcessData {
        var page = little(blocks, 8) + little(blocks, 8) + [UInt8](repeating: 0, count: 4080)
        change(&page)
        return .fromHost(page)
    }

    /// A controller list.
    static func list(_ controllers: [UInt16]) -> InProcessData {
        let words = ([UInt16(controllers.count)] + controllers).flatMap { little($0, 2) }
        return .fromHost(words + [UInt8](repeating: 0, count: 4096 - words.count))
    }
}

/// A Connect command with its data (`struct nvmf_connect_data` of libnvme), each field as a test wants it.
struct RawConnect {
    var command: RawCommand
    var data: [UInt8]

    init(
        nqn: String = EngineWorld.nqn, controllerID: UInt16 = 0xFFFF, queueID: UInt16 = 0, sqSize: UInt16 = 31,
        keepAlive: UInt32 = 0, recordFormat: UInt16 = 0, attributes: UInt8 = 0, host: HostName = .init(),
        change: (inout [UInt8]) -> Void = { _ in }
    ) {
        data = [UInt8](repeating: 0, count: 1024)
        for (offset, bytes) in [
            (MemoryLayout<nvmf_connect_data>.offset(of: \.hostid)!, host.id),
            (MemoryLayout<nvmf_connect_data>.offset(of: \.cntlid)!, little(controllerID, 2)),
            (256, Array(nqn.utf8)), (512, Array(host.nqn.utf8)),
        ] { data.replaceSubrange(offset..<offset + bytes.count, with: bytes) }
        change(&data)
        command = .fabrics(nvme_fabrics_type_connect).with(10, UInt32(recordFormat) | UInt32(queueID) << 16)
            .with(11, UInt32(sqSize) | UInt32(attributes) << 16).with(12, keepAlive)
    }
}

/// SGL descriptors as bytes (NVMe Base, "SGL Descriptor Format"; type in the high half of the last byte).
enum RawSGL {
    static func keyed(address: UInt64, length: Int, key: UInt32, type: UInt8 = 0x40) -> [UInt8] {
        little(address, 8) + little(length, 3) + little(key, 4) + [type]
    }

    /// A data block (type 01h) or, as 31h, a last segment, at an offset of the capsule.
    static func offset(_ offset: UInt64, length: UInt32, type: UInt8 = 0x01) -> [UInt8] {
        little(offset, 8) + little(length, 4) + [0, 0, 0, type]
    }

    /// The descriptors of so many bytes behind the command.
    static func list(_ bytes: Int) -> [UInt8] { offset(0, length: UInt32(bytes), type: 0x31) }
}

/// A number in so many bytes, the lowest first.
func little(_ value: some FixedWidthInteger, _ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
}

extension [UInt8] {
    func number(_ offset: Int, _ count: Int) -> UInt64 {
        (0..<count).reduce(0) { $0 | UInt64(self[offset + $1]) << (8 * UInt64($1)) }
    }

    /// The data of so many blocks of 512 bytes.
    static func blocks(_ count: Int = 1, of value: UInt8) -> [UInt8] { [UInt8](repeating: value, count: 512 * count) }
}

/// A status as the completion carries it: the type in bits 10:8, the code in bits 7:0, as libnvme writes it.
struct RawStatus: Equatable, CustomStringConvertible {
    var code: UInt32
    var doNotRetry = false

    var description: String { String(code, radix: 16) + (doNotRetry ? "h, DNR" : "h") }

    static let success = RawStatus(code: 0)
    static func generic(_ value: nvme_status_field) -> RawStatus { RawStatus(code: value.rawValue) }

    /// A generic command status of a command that is never right.
    static func refused(_ value: nvme_status_field) -> RawStatus { RawStatus(code: value.rawValue, doNotRetry: true) }

    static func specific(_ value: nvme_status_field, doNotRetry: Bool = false) -> RawStatus {
        RawStatus(code: NVME_SCT_CMD_SPECIFIC.rawValue << 8 | value.rawValue, doNotRetry: doNotRetry)
    }

    static func media(_ value: nvme_status_field, doNotRetry: Bool = false) -> RawStatus {
        RawStatus(code: NVME_SCT_MEDIA.rawValue << 8 | value.rawValue, doNotRetry: doNotRetry)
    }
}

extension RawStatus {
    /// The last two bytes of a completion queue entry, whose bit 0 is the phase tag.
    init(field: UInt64) { self.init(code: UInt32(field >> 1 & 0x7FF), doNotRetry: field >> 15 != 0) }
}

/// The fields of a completion queue entry.
extension InProcessAnswer {
    var dword0: UInt32 { UInt32(entry.number(0, 4)) }
    var dword1: UInt32 { UInt32(entry.number(4, 4)) }
    var sqHead: UInt16 { UInt16(entry.number(8, 2)) }
    var commandID: UInt16 { UInt16(entry.number(12, 2)) }
    var status: RawStatus { RawStatus(field: entry.number(14, 2)) }
    var isSuccess: Bool { status.code == 0 }
}
