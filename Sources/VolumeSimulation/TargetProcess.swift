import Base
import NVMeTarget
import Simulation
import TargetInterface

/// One run of the target daemon.
final class TargetProcess {
    var device: SimulatedDevice
    let target: Target
    /// The definition that the daemon is brought to.
    private let state: DesiredState
    let reactors: [TargetReactor]
    /// The same, for each step: counting references would cost more than the look.
    private let looks: [Unmanaged<TargetReactor>]
    /// The target is what it was told to be.
    private var isSettled = false

    /// Why the target is not all that it was told to be, a line for each part.
    var missing: [String] { state.report.missing.map { "\($0.part): \($0.reason)" } }

    /// Lets the target become something else.
    func apply(_ definition: TargetDefinition, reopening reopened: [TargetPart] = []) throws(TercetError) {
        isSettled = false
        try state.apply(definition, reopening: reopened)
    }

    /// Polls the reactors that may have something to do.
    func pollIfDue(_ now: MonotonicTime, _ clock: MachineClock, _ disk: SimulatedDisk, _ second: SimulatedDisk?)
        -> TargetMachine.Look
    {
        var outcome = TargetMachine.Look()
        for place in looks.indices {
            looks[place]._withUnsafeGuaranteedRef { reactor in
                if reactor.isDue(now) || disk.nextPoll <= now || second.map({ $0.nextPoll <= now }) ?? false {
                    outcome.isPolled = true
                    if reactor.poll(now, clock) { outcome.isBusy = true }
                }
                outcome.deadline = min(outcome.deadline, reactor.deadline)
            }
        }
        if !isSettled {
            do { isSettled = try state.proceed() } catch {
                invariantViolated("a simulated target takes what it is told")
            }
            if !isSettled { outcome.isBusy = true }
        }
        // A reactor that was asked before may have been sent something by one behind it.
        if reactors.count > 1, reactors.contains(where: { $0.group.hasLetters }) { outcome.isBusy = true }
        return outcome
    }

    init(device: SimulatedDevice, target: Target, reactors: [TargetReactor]) {
        self.device = device
        self.target = target
        state = DesiredState(target)
        self.reactors = reactors
        looks = reactors.map { .passUnretained($0) }
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
        // With more to do it is due whatever the time.
        deadline = hadWork ? .distantFuture : clock.world(group.nextDeadline)
        return hadWork
    }
}
