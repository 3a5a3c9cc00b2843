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
            (MemoryLayout<nvmf_connect_data>.offset(of: \.cntlid)!, little(controllerID, 2)),
            (256, Array(nqn.utf8)), (512, Array(host.nqn.utf8)),
        ] { data.replaceSubrange(offset..<offset + bytes.count, with: bytes) }
        change(&data)
        command = .fabrics(nvme_fabrics_type_connect).with(10, UInt32(recordFormat) | UInt32(queueID) << 16)
            .with(11, UInt32(sqSize) | UInt32(attributes) << 16).with(12, keepAlive)
    }
}
