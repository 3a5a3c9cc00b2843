import CLibNVMe

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
            (MemoryLayout<nvmf_connect_data>.offset(of: \.cntlid)!, RawSGL.little(UInt64(controllerID), 2)),
            (256, Array(nqn.utf8)), (512, Array(host.nqn.utf8)),
        ] { data.replaceSubrange(offset..<offset + bytes.count, with: bytes) }
        change(&data)
        command = .fabrics(nvme_fabrics_type_connect).with(10, UInt32(recordFormat) | UInt32(queueID) << 16)
            .with(11, UInt32(sqSize) | UInt32(attributes) << 16).with(12, keepAlive)
    }
}

extension RawCommand {
    /// Property Set of CC (offset 14h).
    static func configure(_ value: UInt32) -> RawCommand {
        fabrics(nvme_fabrics_type_property_set).with(11, NVME_REG_CC.rawValue).with(12, value)
    }

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
}
