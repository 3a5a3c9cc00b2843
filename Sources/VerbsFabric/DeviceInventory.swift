import Base
import CVerbs
import FabricInterface
import Glibc

/// The RDMA devices of this machine, as their drivers describe them.
public enum DeviceInventory {
    public struct Device: Sendable {
        public var name: String
        public var limits: DeviceLimits
        public var ports: [Port]
    }

    /// A port (verbs: `struct ibv_port_attr`).
    public struct Port: Sendable {
        /// From 1.
        public var number: Int
        public var isActive: Bool
        /// In words.
        public var state: String
        public var isEthernet: Bool
        /// Bytes of one packet.
        public var activeMTU: Int
        public var maxMTU: Int
    }

    /// All devices that can be asked.
    public static func devices() throws(TercetError) -> [Device] {
        var count: Int32 = 0
        guard let list = rdma_get_devices(&count) else {
            throw verbsError("rdma_get_devices", errno, advice: [ENODEV: "there is no RDMA device"])
        }
        defer { rdma_free_devices(list) }
        return (0..<Int(count)).compactMap { list[$0].flatMap { describe($0) } }
    }

    private static func describe(_ verbs: UnsafeMutablePointer<ibv_context>) -> Device? {
        var attributes = ibv_device_attr()
        guard ibv_query_device(verbs, &attributes) == 0 else { return nil }
        let isIWARP = verbs.pointee.device.pointee.transport_type == IBV_TRANSPORT_IWARP
        var ports: [Port] = []
        var first = ibv_port_attr()
        for number in 1...max(1, attributes.phys_port_cnt) {
            var port = ibv_port_attr()
            guard tercet_query_port(verbs, number, &port) == 0 else { continue }
            if ports.isEmpty { first = port }
            ports.append(
                Port(
                    number: Int(number), isActive: port.state == IBV_PORT_ACTIVE, state: state(port.state),
                    isEthernet: Int32(port.link_layer) == IBV_LINK_LAYER_ETHERNET, activeMTU: bytes(port.active_mtu),
                    maxMTU: bytes(port.max_mtu)))
        }
        return Device(
            name: ibv_get_device_name(verbs.pointee.device).map { String(cString: $0) } ?? "unnamed",
            limits: DeviceLimits(attributes, first, isIWARP: isIWARP), ports: ports)
    }

    /// 256 to 4096, from 1 to 5 (verbs: `enum ibv_mtu`).
    private static func bytes(_ mtu: ibv_mtu) -> Int { 128 << Int(min(5, mtu.rawValue)) }

    private static func state(_ state: ibv_port_state) -> String {
        switch state {
        case IBV_PORT_DOWN: "down"
        case IBV_PORT_INIT: "initialised, and not configured by a subnet manager"
        case IBV_PORT_ARMED: "armed"
        case IBV_PORT_ACTIVE: "active"
        default: "in state \(state.rawValue)"
        }
    }
}
