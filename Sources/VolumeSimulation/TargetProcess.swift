import Base
import NVMeTarget
import Simulation

/// One run of the target daemon.
final class TargetProcess {
    var device: SimulatedDevice
    let target: Target
    /// The definition that the daemon is brought to.
    let state: DesiredState
    let reactors: [TargetReactor]
    /// When it is to be polled even if nothing happens.
    private(set) var deadline = MonotonicTime(nanoseconds: 0)
    /// How often it has been polled.
    private(set) var rounds: UInt64 = 0

    /// Polls the reactors that may have something to do; `true` where there may be more at once.
    func pollIfDue(_ now: MonotonicTime, _ clock: MachineClock, _ disk: SimulatedDisk) -> Bool {
        var isBusy = false
        deadline = .distantFuture
        for reactor in reactors {
            if reactor.isDue(now) || disk.nextPoll <= now {
                rounds &+= 1
                if reactor.poll(now, clock) { isBusy = true }
            }
            deadline = min(deadline, reactor.deadline)
        }
        do { isBusy = try !state.proceed() || isBusy } catch {
            invariantViolated("a simulated target takes what it is told")
        }
        // A reactor that was asked before may have been sent something by one behind it.
        return isBusy || (reactors.count > 1 && reactors.contains { $0.group.hasLetters })
    }

    init(device: SimulatedDevice, target: Target, reactors: [TargetReactor]) {
        self.device = device
        self.target = target
        state = DesiredState(target)
        self.reactors = reactors
    }
}

/// One reactor of a target daemon.
final class TargetReactor {
    let fabric: SimulatedFabric
    let group: PollGroup
    private(set) var deadline = MonotonicTime(nanoseconds: 0)
    private var hadWork = true

    init(fabric: SimulatedFabric, group: PollGroup) {
        self.fabric = fabric
        self.group = group
    }

    func isDue(_ now: MonotonicTime) -> Bool { hadWork || fabric.hasNews || group.hasLetters || deadline <= now }

    /// `true` where there may be more to do at once.
    func poll(_ now: MonotonicTime, _ clock: MachineClock) -> Bool {
        fabric.hasNews = false
        hadWork = group.poll(now: clock.local(now)) > 0
        // As a reactor looks once more before it sleeps.
        if !hadWork {
            group.expectEvents()
            hadWork = fabric.hasEvents
        }
        deadline = clock.world(group.nextDeadline)
        return hadWork
    }
}
