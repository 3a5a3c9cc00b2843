import TargetInterface
import TargetTransport

/// Changes of reservations that the reactor takes on, and the commands of hosts that lost their registration: a change is over
/// when those have left the block devices.
final class Fences {
    private let options: TargetOptions
    private let engines: EngineTable
    private let views: SubsystemViews
    private var fences: [Fence] = []

    private struct Fence {
        let victims: Victims
        let barrier: FenceBarrier
    }

    init(_ options: TargetOptions, _ engines: EngineTable, _ views: SubsystemViews) {
        self.options = options
        self.engines = engines
        self.views = views
    }

    /// Takes on who may read and write a namespace, ends waiting commands of `victims`, and arrives at the barrier when
    /// their running ones have ended.
    func add(_ subsystem: Subsystem, nsid: UInt32, victims: HostSet, barrier: FenceBarrier) {
        guard let view = views.existingView(of: subsystem) else { return barrier.arrive() }
        views.synchronize(subsystem, nsid: nsid)
        let victims = Victims(nsid: nsid, hosts: victims, namespaces: view.namespaces)
        if !victims.hosts.isEmpty, options.deliberateDefect != .waitingCommandsNotAborted {
            engines.abortWaiting(victims)
        }
        fences.append(Fence(victims: victims, barrier: barrier))
        check()
    }

    /// Ends the fences behind which nothing runs any more.
    @inline(__always)
    func check() {
        if _slowPath(!fences.isEmpty) { removeEnded() }
    }

    private func removeEnded() {
        fences.removeAll { fence in
            if !fence.victims.hosts.isEmpty, options.deliberateDefect != .preemptedCommandsNotAwaited,
                engines.isRunning(fence.victims)
            {
                return false
            }
            fence.barrier.arrive()
            return true
        }
    }

    /// A fence, or a connection, looks at a view.
    func uses(_ namespaces: NamespaceTable) -> Bool {
        fences.contains { $0.victims.namespaces == namespaces } || engines.uses(namespaces)
    }
}
