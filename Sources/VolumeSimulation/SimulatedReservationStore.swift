import Simulation
import TargetInterface

/// A machine keeps reservations here: in a file that is durable a while after it was asked for.
final class SimulatedReservationStore: ReservationStore, @unchecked Sendable {
    // Unchecked: one thread drives a simulation.
    private let network: SimulatedNetwork
    /// By subsystem and namespace.
    private var stored: [String: [UInt8]] = [:]
    /// One namespace's reservations take another one's place. A broken variant.
    var mixesNamespaces = false
    /// Nothing can be stored: what is asked for ends in an error, and what was stored stays.
    var fails = false
    /// Nanoseconds that it takes longer.
    var slowness: UInt64 = 0
    /// It answers before it has stored, or has nothing once its daemon has gone. Broken variants.
    var answersEarly = false
    var forgets = false
    /// Raised when the process ends: what it had asked for and was not done is not done any more.
    var processNumber: UInt64 = 0

    init(_ network: SimulatedNetwork) { self.network = network }

    func load(subsystem: String, nsid: UInt32) throws -> [UInt8]? {
        forgets ? nil : stored[key(subsystem, nsid)]
    }

    func save(
        _ bytes: (@Sendable () -> [UInt8])?, subsystem: String, nsid: UInt32,
        completion: @escaping @Sendable (String?) -> Void
    ) {
        let process = processNumber
        if answersEarly { completion(nil) }
        network.schedule(afterNanoseconds: network.draw(20_000...400_000) + slowness) { [self] in
            guard processNumber == process else { return }
            if fails { return answersEarly ? () : completion("no space left on device") }
            stored[key(subsystem, nsid)] = bytes?()
            if !answersEarly { completion(nil) }
        }
    }

    func erase(subsystem: String, nsid: UInt32) { stored[key(subsystem, nsid)] = nil }

    private func key(_ subsystem: String, _ nsid: UInt32) -> String { mixesNamespaces ? "" : "\(subsystem) \(nsid)" }
}
