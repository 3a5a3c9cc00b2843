import Base
import Reactor

/// Runs pollers against a simulated network as reactors would, in one thread and in virtual time: while there is work
/// they are polled in turn, and when there is none time goes on to the next event or the next timer.
public final class Simulation {
    public let network: SimulatedNetwork
    private var pollers: [Poller] = []
    /// Virtual nanoseconds that a round of polling takes.
    public var roundNanoseconds: UInt64 = 1_000

    public init(network: SimulatedNetwork) { self.network = network }

    public func add(_ poller: Poller) { pollers.append(poller) }

    /// Stops polling: the process has crashed, or is paused for long.
    public func remove(_ poller: Poller) { pollers.removeAll { $0 === poller } }

    /// Polls everybody once; returns how much there was to do.
    @discardableResult
    public func round() -> Int {
        var work = 0
        for poller in pollers { work += poller.poll(now: network.now) }
        return work
    }

    /// Lets the world go on until `condition` holds; `false` when it does not within the time.
    @discardableResult
    public func run(forNanoseconds duration: UInt64, until condition: () -> Bool = { false }) -> Bool {
        let end = network.now.advanced(byNanoseconds: duration)
        while !condition() {
            if round() > 0 {
                network.run(until: network.now.advanced(byNanoseconds: roundNanoseconds))
            } else if !sleep(until: end) {
                return condition()
            }
            if network.now >= end { return condition() }
        }
        return true
    }

    /// As a reactor sleeps: arms, looks once more, and lets time pass. `false` at `end`.
    private func sleep(until end: MonotonicTime) -> Bool {
        for poller in pollers { poller.prepareToSleep() }
        if round() > 0 { return true }
        var wake = min(end, network.nextEventTime)
        for poller in pollers { wake = min(wake, poller.nextDeadline) }
        network.run(until: max(wake, network.now.advanced(byNanoseconds: roundNanoseconds)))
        for poller in pollers { poller.wokeUp() }
        return network.now < end
    }
}
