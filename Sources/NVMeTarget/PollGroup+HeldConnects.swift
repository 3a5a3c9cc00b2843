import Base
import FabricInterface
import NVMeSpec

/// A Connect that waits for the end of its host's earlier associations.
struct HeldConnect {
    var ticket: PollGroup.RequestTicket
    var waiter: DrainWaiter
    var subsystem: Subsystem
    var host: String
    var peer: String
    var since: MonotonicTime
    var isReported = false
}

/// A new association of a host begins when the commands of its ended ones are over. A disk that hangs can make that long:
/// the operator hears of it, and the host is told to try again before it gives up by itself, without a reason.
extension PollGroup {
    /// Keeps a Connect of an admin queue while commands of the host's ended associations may still land; `false` where there
    /// are none.
    func holdConnect(
        _ index: UInt32, _ data: ConnectData, _ subsystem: Subsystem, in group: DeviceGroup, now: MonotonicTime
    ) -> Bool {
        let waiter = hold(index, in: group, until: .host(nqn: data.hostNQN, id: data.hostID), of: subsystem) {
            pollGroup, ticket, group in
            // Answered meanwhile: its time was over.
            guard let place = pollGroup.heldConnects.firstIndex(where: { $0.ticket == ticket }) else { return }
            pollGroup.heldConnects.remove(at: place)
            pollGroup.execute(request: ticket.request, in: group, now: pollGroup.now)
        }
        guard let waiter else { return false }
        let ticket = ticket(index, in: group)
        let peer = connectionRequest(of: ticket.slot, in: group)?.peerAddress?.description
        heldConnects.append(
            HeldConnect(
                ticket: ticket, waiter: waiter, subsystem: subsystem, host: data.hostNQN,
                peer: peer ?? "an unknown address", since: now))
        return true
    }

    /// Reports Connects that have waited for long, and answers those that have waited for too long with Controller Busy (NVMe
    /// over Fabrics, "Connect": the host may try again). Returns how many it has answered.
    func inspectHeldConnects(_ now: MonotonicTime) -> Int {
        var answered = 0
        for place in heldConnects.indices.reversed() {
            let held = heldConnects[place]
            guard let group = group(of: held.ticket) else {
                // The host has gone.
                held.subsystem.forget(held.waiter)
                heldConnects.remove(at: place)
                continue
            }
            // It has sent Connect: that it does not is not the reason to end it.
            group.queuePairs[held.ticket.slot].pointee.awaitsConnectSince = now
            let waited = now.nanoseconds(since: held.since) / 1_000_000
            if waited >= Limits.heldConnectReportMilliseconds, !held.isReported {
                heldConnects[place].isReported = true
                report(held, isRefused: false)
            }
            guard waited >= Limits.heldConnectMilliseconds else { continue }
            report(held, isRefused: true)
            held.subsystem.forget(held.waiter)
            heldConnects.remove(at: place)
            fail(held.ticket.request, .connectControllerBusy, in: group)
            answered += 1
        }
        return answered
    }

    /// Refusals are all reported; waiting once for each association, as a volume that misses a member tries each second.
    private func report(_ held: HeldConnect, isRefused: Bool) {
        let (controllers, isNews) = held.subsystem.draining(held.waiter.scope)
        guard isNews || isRefused else { return }
        target.observe(
            .connectHeld(
                host: held.host, subsystem: held.subsystem.nqn, controllers: controllers, peer: held.peer,
                isRefused: isRefused))
    }
}
