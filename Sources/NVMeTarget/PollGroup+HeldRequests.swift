import Base
import NVMeSpec
import TargetTransport

/// A request that waits for the end of associations: a Connect for those that its host had, or a Quiesce for the one that it
/// names.
struct HeldRequest {
    var ticket: PollGroup.RequestTicket
    var waiter: DrainWaiter
    var subsystem: Subsystem
    var since: MonotonicTime
    /// Who connects; `nil` for a Quiesce.
    var connect: (host: String, peer: String)?
    var isReported = false
}

/// A new association of a host begins when the commands of its ended ones are over. A disk that hangs can make that long:
/// the operator hears of it, and the host is told to try again before it gives up by itself, without a reason.
extension PollGroup {
    /// Keeps a request while commands of ended associations may still land; `false` where there are none. It is executed
    /// anew when they are over.
    func hold(
        _ request: RequestReference, until scope: DrainScope, of subsystem: Subsystem,
        connect: (host: String, peer: String)? = nil
    ) -> Bool {
        let here = target.group(index)
        let ticket = ticket(request)
        let waiter = DrainWaiter(scope: scope) { here.run { $0.resume(ticket) } }
        guard target.options.deliberateDefect != .formerCommandsNotAwaited, subsystem.wait(waiter) else { return false }
        request.hold()
        // It waits for as long as a disk hangs: the capsule's buffer is for others meanwhile.
        request.engine.setAside(request.index)
        heldRequests.append(
            HeldRequest(ticket: ticket, waiter: waiter, subsystem: subsystem, since: now, connect: connect))
        return true
    }

    private func resume(_ ticket: RequestTicket) {
        // Answered meanwhile, as its time was over; or its host has gone.
        guard let place = heldRequests.firstIndex(where: { $0.ticket == ticket }), let request = request(of: ticket)
        else {
            return
        }
        let held = heldRequests.remove(at: place)
        // Of an earlier request in the same slot, this may be the news.
        held.subsystem.forget(held.waiter)
        execute(request, now: now)
    }

    /// Reports Connects that have waited for long, and answers what has waited for too long: Connects with Controller Busy
    /// (NVMe over Fabrics, "Connect"), a Quiesce with Command Interrupted (NVMe Base, "Generic Command Status Values", 21h).
    /// The host may try again. Returns how many it has answered.
    func inspectHeldRequests(_ now: MonotonicTime) -> Int {
        var answered = 0
        for place in heldRequests.indices.reversed() {
            let held = heldRequests[place]
            guard let request = request(of: held.ticket) else {
                // The host has gone.
                held.subsystem.forget(held.waiter)
                heldRequests.remove(at: place)
                continue
            }
            // It has sent Connect: that it does not is not the reason to end it.
            request.engine.connections[request.connection].awaitsConnectSince = now
            let waited = now.nanoseconds(since: held.since) / 1_000_000
            if waited >= Limits.heldReportMilliseconds, !held.isReported {
                heldRequests[place].isReported = true
                report(held, isRefused: false)
            }
            guard waited >= Limits.heldMilliseconds else { continue }
            report(held, isRefused: true)
            held.subsystem.forget(held.waiter)
            heldRequests.remove(at: place)
            fail(request, held.connect == nil ? .commandInterrupted : .connectControllerBusy)
            answered += 1
        }
        return answered
    }

    /// Refusals of Connects are all reported; waiting once for each association, as a volume that misses a member tries each
    /// second.
    private func report(_ held: HeldRequest, isRefused: Bool) {
        guard let connect = held.connect else { return }
        let (controllers, isNews) = held.subsystem.draining(held.waiter.scope)
        guard isNews || isRefused else { return }
        target.observe(
            .connectHeld(
                host: connect.host, subsystem: held.subsystem.nqn, controllers: controllers, peer: connect.peer,
                isRefused: isRefused))
    }
}
