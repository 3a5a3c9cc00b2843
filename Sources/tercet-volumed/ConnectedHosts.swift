import NVMeTarget
import Synchronization

/// The hosts that are connected to each subsystem, as the target tells of them.
final class ConnectedHosts: Sendable {
    /// By the subsystem and the number of the controller.
    private let hosts = Mutex<[String: [UInt16: String]]>([:])

    func note(_ event: TargetEvent) {
        switch event {
        case .hostConnected(let host, let subsystem, let controller, _):
            hosts.withLock { $0[subsystem, default: [:]][controller] = host }
        case .hostDisconnected(_, let subsystem, let controller, _):
            hosts.withLock { $0[subsystem]?[controller] = nil }
        default: break
        }
    }

    func of(_ subsystem: String) -> Set<String> { hosts.withLock { Set($0[subsystem, default: [:]].values) } }
}
