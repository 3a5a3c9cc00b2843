import Base
import NVMeInitiator
import NVMeSpec
import Simulation

/// The reservation that one host takes and gives up, again and again, while another one writes: what is certain of it.
final class HostReservation: @unchecked Sendable {
    // Unchecked: one thread drives a simulation.
    /// What any command that begins now has to find.
    enum Certainty: Equatable {
        /// Nobody holds it, since the change of this number.
        case free(UInt64)
        /// The first host holds it, since the change of this number.
        case held(UInt64)
        /// A command is under way, or its outcome is not known.
        case unknown
    }
    private(set) var certainty = Certainty.free(0)
    private var changes: UInt64 = 0
    private var isHeld = false
    private var isAsking = false
    private var actsAt = MonotonicTime(nanoseconds: 0)
    private unowned let world: SuccessionWorld
    var isStopped = false
    /// Commands that took effect.
    private(set) var completed = 0

    private static let key: UInt64 = 0x1234
    private static let nsid: UInt32 = 1

    init(_ world: SuccessionWorld) { self.world = world }

    var deadline: MonotonicTime { isAsking || isStopped ? .distantFuture : actsAt }

    /// Takes the next step where it is due.
    func proceed(_ now: MonotonicTime) {
        guard !isAsking, !isStopped, now >= actsAt else { return }
        guard let controller = world.hosts[0].path?.controller else {
            return actsAt = now.advanced(byMilliseconds: 5)
        }
        isAsking = true
        let takes = !isHeld
        certainty = .unknown
        world.trace { "host0 \(takes ? "takes" : "gives up") the reservation" }
        let host = world.hosts[0]
        host.group.spawn { [self] in
            do throws(InitiatorError) {
                if takes { try await Self.take(controller) } else { try await Self.giveUp(controller) }
                ended(takes, nil)
            } catch { ended(takes, error) }
        }
        host.touch()
    }

    private func ended(_ takes: Bool, _ error: InitiatorError?) {
        world.trace { "host0: \(error.map { "that failed, or not: \($0)" } ?? "that is done")" }
        isAsking = false
        if let error {
            if case .status(let status, _) = error, status.matches(.reservationConflict) {
                world.fail(.reservationForgotten, "host0 is refused its own reservation: \(error)")
            }
            // The same once more: it does no harm where it was done.
            actsAt = world.network.now.advanced(byMilliseconds: 20)
            return
        }
        completed += 1
        changes += 1
        isHeld = takes
        certainty = takes ? .held(changes) : .free(changes)
        actsAt = world.network.now.advanced(byNanoseconds: world.draw(20_000_000...600_000_000))
    }

    private static func take(_ controller: Controller) async throws(InitiatorError) {
        try await controller.registerReservation(
            nsid: nsid, ReservationRegisterCommand(.register, ignoresExistingKey: true), currentKey: 0, newKey: key)
        try await controller.acquireReservation(
            nsid: nsid, ReservationAcquireCommand(.acquire, type: .writeExclusive), currentKey: key)
    }

    private static func giveUp(_ controller: Controller) async throws(InitiatorError) {
        try await controller.releaseReservation(
            nsid: nsid, ReservationReleaseCommand(.release, type: .writeExclusive), currentKey: key)
    }
}
