import CLibNVMe
import NVMeTarget

/// A Connect command and its data in the host's memory, each field as a test wants it.
struct RawConnect {
    var command: RawCommand

    /// Offsets in the data as libnvme's structure has them.
    static let hostIDOffset = MemoryLayout<nvmf_connect_data>.offset(of: \.hostid)!
    static let controllerIDOffset = MemoryLayout<nvmf_connect_data>.offset(of: \.cntlid)!
    static let subsystemOffset = 256
    static let hostOffset = 512

    init(
        _ host: RawHost, nqn: String = TargetWorld.nqn, controllerID: UInt16 = 0xFFFF, queueID: UInt16 = 0,
        sqSize: UInt16 = 31, keepAlive: UInt32 = 0, recordFormat: UInt16 = 0, attributes: UInt8 = 0,
        hostNQN: String? = nil, hostID: [UInt8]? = nil, change: (inout [UInt8]) -> Void = { _ in }
    ) {
        var data = [UInt8](repeating: 0, count: 1024)
        data.replaceSubrange(Self.hostIDOffset..<Self.hostIDOffset + 16, with: hostID ?? host.id)
        data.replaceSubrange(
            Self.controllerIDOffset..<Self.controllerIDOffset + 2, with: RawSGL.little(UInt64(controllerID), 2))
        data.replaceSubrange(Self.subsystemOffset..<Self.subsystemOffset + nqn.utf8.count, with: nqn.utf8)
        let name = hostNQN ?? host.nqn
        data.replaceSubrange(Self.hostOffset..<Self.hostOffset + name.utf8.count, with: name.utf8)
        change(&data)
        let offset = host.connectData()
        UnsafeMutableRawBufferPointer(rebasing: host.memory[offset..<offset + 1024]).copyBytes(from: data)
        command = .fabrics(nvme_fabrics_type_connect)
        command[dword: 10] = UInt32(recordFormat) | UInt32(queueID) << 16
        command[dword: 11] = UInt32(sqSize) | UInt32(attributes) << 16
        command[dword: 12] = keepAlive
        command.sgl = host.keyed(offset, 1024)
    }
}

extension RawCommand {
    /// Property Set of CC (offset 14h).
    static func configure(_ value: UInt32) -> RawCommand {
        fabrics(nvme_fabrics_type_property_set).with(11, NVME_REG_CC.rawValue).with(12, value)
    }

    static func getProperty(_ register: nvme_register_offsets, is8Bytes: Bool = false) -> RawCommand {
        fabrics(nvme_fabrics_type_property_get).with(10, is8Bytes ? 1 : 0).with(11, register.rawValue)
    }

    static func setFeature(_ feature: nvme_features_id, _ value: UInt32) -> RawCommand {
        RawCommand(opcode: nvme_admin_set_features.rawValue).with(10, feature.rawValue).with(11, value)
    }

    static func getLog(_ page: nvme_cmd_get_log_lid, bytes: Int, nsid: UInt32 = 0xFFFF_FFFF) -> RawCommand {
        RawCommand(opcode: nvme_admin_get_log_page.rawValue, nsid: nsid)
            .with(10, page.rawValue | UInt32(bytes / 4 - 1) << 16)
    }
}
