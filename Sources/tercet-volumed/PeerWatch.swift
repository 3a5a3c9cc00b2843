import Base
import NVMeInitiator
import NVMeSpec

/// Watches another daemon by a connection to the address at which it offers volumes.
///
/// The end of its process ends the connection at once. That proves nothing, as a switch may do the same; but its machine then says that nobody
/// listens at that address, and that does.
final class PeerWatch: Sendable {
    private let controller: Controller
    private let attempts: Task<Void, Never>

    /// - Parameter gone: told, once or several times, when the machine says so.
    init(_ address: SocketAddress, as host: HostIdentity, group: InitiatorGroup, gone: @escaping @Sendable () -> Void) {
        let controller = Controller(
            ControllerOptions(
                address: address, subsystemNQN: NQN.discovery, hostNQN: host.nqn, hostID: host.id, queueEntries: 32,
                keepAliveMilliseconds: 10_000, connectTimeoutMilliseconds: 3000, adminTimeoutMilliseconds: 10_000,
                recovery: .fail, reconnectDelayMilliseconds: 10...1000),
            home: group, groups: []
        ) { event in
            if case .reconnectFailed(.absent, _) = event { gone() }
        }
        self.controller = controller
        attempts = Task {
            while !Task.isCancelled {
                do throws(InitiatorError) {
                    try await controller.connect()
                    return
                } catch {
                    if case .absent = error { gone() }
                    try? await Task.sleep(for: .milliseconds(Self.retryMilliseconds))
                }
            }
        }
    }

    /// Between two attempts before the first that succeeds, in milliseconds.
    private static let retryMilliseconds = 500

    func end() async {
        attempts.cancel()
        await attempts.value
        await controller.close()
    }
}
