import Synchronization
import TargetInterface

/// The way by which hosts' changes of pools come from the reactors to the service.
final class PoolDoor: PoolKeeper {
    typealias Body =
        @Sendable (_ nqn: String, _ change: PoolChange, _ host: String) async -> Result<UInt32, PoolRefusal>

    private let body = Mutex<Body?>(nil)

    /// From now on changes are made; before they are refused.
    func open(_ body: @escaping Body) { self.body.withLock { $0 = body } }

    func change(
        pool nqn: String, _ change: PoolChange, for host: String,
        completion: @escaping @Sendable (Result<UInt32, PoolRefusal>) -> Void
    ) {
        guard let body = body.withLock({ $0 }) else {
            return completion(.failure(.unavailable("the daemon is starting")))
        }
        Task { completion(await body(nqn, change, host)) }
    }
}
