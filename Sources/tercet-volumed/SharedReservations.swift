import Base
import Synchronization
import TargetInterface

/// Keeps the reservations of shared volumes' hosts where the next owner finds them.
final class SharedReservations: ReservationStore {
    /// Keeps one, durably; returns what went wrong.
    typealias Keeper = @Sendable (_ subsystem: String, _ reservation: [UInt8]?) async -> String?

    private let keeper = Mutex<Keeper?>(nil)

    var keepsAll: Bool { true }

    func begin(_ keeper: @escaping Keeper) { self.keeper.withLock { $0 = keeper } }

    /// A volume has none until it is served: an owner takes on what the one before it has kept.
    func load(subsystem: String, nsid: UInt32) -> [UInt8]? { nil }

    func save(
        _ bytes: (@Sendable () -> [UInt8])?, subsystem: String, nsid: UInt32,
        completion: @escaping @Sendable (String?) -> Void
    ) {
        guard let keeper = keeper.withLock({ $0 }) else { return completion("no volume is served yet") }
        Task { completion(await keeper(subsystem, bytes?())) }
    }
}
