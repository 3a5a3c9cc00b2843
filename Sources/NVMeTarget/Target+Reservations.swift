import Base
import Synchronization
import TargetInterface

/// Reservations of namespaces that several targets serve, one after another.
extension Target {
    /// Reservation commands that are under way when a namespace comes here have so long to end, in milliseconds.
    private static let patienceMilliseconds = 2000

    /// Takes on the reservation of a namespace that another target has served, as it was stored there; `nil` for none. When this
    /// returns, every reactor knows it.
    ///
    /// For the control plane, while no host has access to the namespace.
    /// - Throws: `damaged` and `unsupported` where it cannot be read, `notFound` where there is no such namespace, `timedOut` where a
    ///   reservation command does not end. The reservation is what it was then.
    public func takeOn(
        reservation bytes: [UInt8]?, of nsid: UInt32, in nqn: String, isolation: isolated (any Actor)? = #isolation
    ) async throws(TercetError) {
        var waited = 0
        var taking = try beginTakingOn(reservation: bytes, of: nsid, in: nqn)
        while taking == nil, waited < Self.patienceMilliseconds {
            try? await Task.sleep(for: .milliseconds(1))
            waited += 1
            taking = try beginTakingOn(reservation: bytes, of: nsid, in: nqn)
        }
        guard let taking else {
            throw TercetError(.timedOut, "namespace \(nsid) of \(nqn): a reservation command does not end")
        }
        _ = await taking.known.wait()
        taking.finish()
    }

    /// The first step of `takeOn`, for a caller that cannot wait here. It goes on with `finish` when `known` has come. `nil` while a
    /// reservation command is under way: try again.
    package func beginTakingOn(
        reservation bytes: [UInt8]?, of nsid: UInt32, in nqn: String
    ) throws(TercetError) -> ReservationTakeOver? {
        guard let subsystem = subsystem(nqn), let namespace = subsystem.namespace(nsid) else {
            throw TercetError(.notFound, "there is no namespace \(nsid) of \(nqn)")
        }
        let stored = try bytes.map { bytes throws(TercetError) in try StoredReservation(decoding: bytes) }
        // Hosts have their places before any reactor takes them for registrants.
        let reservation = stored.map { Reservation($0) { subsystem.register($0) } } ?? Reservation()
        guard let former = namespace.reservation.withLock({ $0.replace(with: reservation) }) else {
            subsystem.unregister(reservation.registrants.hosts().map(\.index))
            return nil
        }
        let known = OneTimeEvent()
        let groups = groups
        let barrier = FenceBarrier(count: groups.count) { known.signal() }
        for group in groups {
            group.send { $0.fence(subsystem, nsid: nsid, victims: HostSet(), barrier: barrier) }
        }
        if groups.isEmpty { known.signal() }
        return ReservationTakeOver(known: known) { subsystem.unregister(former.map(\.index)) }
    }
}

/// A reservation that is being taken on.
package struct ReservationTakeOver: Sendable {
    /// Every reactor knows it.
    package let known: OneTimeEvent
    /// Gives the places of the former registrants to others.
    package let finish: @Sendable () -> Void
}
