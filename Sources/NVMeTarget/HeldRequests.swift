import Base
import NVMeSpec
import TargetInterface
import TargetTransport

/// A request that waits for the end of associations: a Connect for those that its host had, or a Quiesce for the one that it
/// names.
private struct HeldRequest {
    var ticket: RequestTicket
    var waiter: DrainWaiter
    var subsystem: Subsystem
    var since: MonotonicTime
    /// The host that connects; `nil` for a Quiesce.
    var connect: (host: String, peer: String)?
    var isReported = false
}

/// A new association of a host begins when the commands of its ended ones are over. A disk that hangs can make that long:
/// the operator hears of it, and the host is told to try again before it gives up by itself, without a reason.
final class HeldRequests {
    private let target: Target
    private let engines: EngineTable
    private var requests: [HeldRequest] = []

    init(_ target: Target, _ engines: EngineTable) {
        self.target = target
        self.engines = engines
    }

    /// Keeps a request while commands of ended associations may still land; `false` where there are none. It is executed
    /// anew when they are over.
    func hold(
        _ request: RequestReference, until scope: DrainScope, of subsystem: Subsystem,
        connect: (host: String, peer: String)? = nil, now: MonotonicTime
    ) -> Bool {
        let here = target.group(engines.group)
        let ticket = engines.ticket(of: request)
        let waiter = DrainWaiter(scope: scope) { here.send { $0.resume(ticket) } }
        guard target.options.deliberateDefect != .formerCommandsNotAwaited, subsystem.wait(waiter) else { return false }
        request.hold()
        // It waits for as long as a disk hangs: the capsule's buffer is for others meanwhile.
        request.setAside()
        requests.append(
            HeldRequest(ticket: ticket, waiter: waiter, subsystem: subsystem, since: now, connect: connect))
        return true
    }

    /// Takes out a request whose wait is over, to be executed anew; `nil` where it was answered meanwhile, as its time was over,
    /// or its host has gone.
    func take(_ ticket: RequestTicket) -> RequestReference? {
        guard let place = requests.firstIndex(where: { $0.ticket == ticket }),
            let request = engines.request(of: ticket)
        else { return nil }
        let held = requests.remove(at: place)
        // Of an earlier request in the same slot, this may be the news.
        held.subsystem.forget(held.waiter)
        return request
    }

    /// Reports Connects that have waited for long, and takes out what has waited for too long: Connects, to be answered with
    /// Controller Busy (NVMe over Fabrics, "Connect"), and a Quiesce, with Command Interrupted (NVMe Base, "Generic Command
    /// Status Values", 21h). The host may try again.
    func inspect(_ now: MonotonicTime) -> [(RequestReference, Status)] {
        var overdue: [(RequestReference, Status)] = []
        for place in requests.indices.reversed() {
            let held = requests[place]
            guard let request = engines.request(of: held.ticket) else {
                // The host has gone.
                held.subsystem.forget(held.waiter)
                requests.remove(at: place)
                continue
            }
            request.queue.connectIsHeld(at: now)
            let waited = now.nanoseconds(since: held.since) / 1_000_000
            if waited >= Limits.heldReportMilliseconds, !held.isReported {
                requests[place].isReported = true
                report(held, isRefused: false)
            }
            guard waited >= Limits.heldMilliseconds else { continue }
            report(held, isRefused: true)
            held.subsystem.forget(held.waiter)
            requests.remove(at: place)
            overdue.append((request, held.connect == nil ? .commandInterrupted : .connectControllerBusy))
        }
        return overdue
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
