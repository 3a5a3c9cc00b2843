import Base
import NVMeTarget
import Replication
import Simulation
import Succession
import VolumeRegistry

/// Faults of a world with daemons.
extension SuccessionWorld {
    /// Runs `body` later, unless the faults have stopped by then.
    private func later(_ delay: UInt64, _ body: @escaping (SuccessionWorld) -> Void) {
        network.schedule(afterNanoseconds: delay) { [unowned self] in
            if !isHealing, failure == nil { body(self) }
        }
    }

    func inject(_ fault: Fault) {
        guard let place = FaultKind.allCases.firstIndex(of: fault.kind) else { return }
        trace { "FAULT \(fault)" }
        network.note(fault.time ^ UInt64(place))
        guard happens(fault) else { return trace { "which does not happen" } }
        counts.faults[place] += 1
        happened.append(fault)
    }

    /// The daemon that a fault is about: the owner in half of the cases.
    private func daemon(_ fault: Fault) -> SuccessionDaemon {
        let chosen = daemons[fault.member.number % daemons.count]
        return fault.choice & 1 == 0 ? chosen : daemons.first(where: \.isShown) ?? chosen
    }

    /// Lets a fault happen; false where it cannot, as things are.
    private func happens(_ fault: Fault) -> Bool {
        switch fault.kind {
        case .daemonKill, .daemonPowerLoss, .daemonPause, .daemonStall, .machineSuspended, .daemonStop, .handOver:
            injectDaemon(fault)
        case .leaseRevoked, .registryCut, .registryAnswersLost, .registryDown, .looksOvertaken: injectRegistry(fault)
        case .daemonMemberCut, .hostPathCut, .hostPathBreak, .partition, .slowLink: injectNetwork(fault)
        case .targetKill, .targetPause, .slowDisk, .stuckDisk: injectMember(fault)
        default: false
        }
    }

    private func injectDaemon(_ fault: Fault) -> Bool {
        let daemon = daemon(fault)
        guard daemon.isRunning else { return false }
        switch fault.kind {
        case .daemonKill, .daemonPowerLoss:
            daemon.die(isSilent: fault.kind == .daemonPowerLoss)
            later(fault.span) { _ in daemon.start() }
        case .daemonPause, .machineSuspended:
            daemon.pause(isSuspended: fault.kind == .machineSuspended)
            later(fault.span) { _ in if daemon.isPaused { daemon.goOn() } }
        case .daemonStall:
            daemon.stallsAfterPoll = true
            later(fault.span) { _ in if daemon.isPaused || daemon.stallsAfterPoll { daemon.goOn() } }
        case .daemonStop:
            daemon.take(.stop)
            later(fault.span + 500_000_000) { _ in daemon.startAnew() }
        case .handOver:
            guard daemon.canHandOver, let successor = daemon.standbys.first else { return false }
            daemon.take(.volume(SuccessionDaemon.volume, .handOver(to: successor)))
        default: break
        }
        return true
    }

    private func injectRegistry(_ fault: Fault) -> Bool {
        let daemon = daemon(fault)
        let place = daemon.place
        switch fault.kind {
        case .leaseRevoked:
            guard let lease = daemon.succession.lease else { return false }
            daemon.becomeUntimely()
            return (try? registry.revoke(Lease(id: lease.number.number, seconds: SuccessionDaemon.leaseSeconds))) != nil
        case .registryCut:
            registryCuts.insert(place)
            later(fault.span) { $0.registryCuts.remove(place) }
        case .registryAnswersLost:
            answerCuts.insert(place)
            later(fault.span) { $0.answerCuts.remove(place) }
        case .registryDown:
            registryCuts.formUnion(daemons.map(\.place))
            later(fault.span) { $0.registryCuts = [] }
        case .looksOvertaken:
            slowRegistry.formUnion(daemons.map(\.place))
            later(fault.span) { $0.slowRegistry = [] }
        default: break
        }
        return true
    }

    private func injectNetwork(_ fault: Fault) -> Bool {
        let node = daemon(fault).node
        let member = fault.member.number
        let host = SuccessionLinks.hostNode(Int(fault.choice >> 8) % hosts.count)
        switch fault.kind {
        case .daemonMemberCut:
            links.cut(node, member, isOneWay: fault.choice & 16 == 0)
            // Two of them, and the volume cannot be used here.
            let other = (member + 1) % memberCount
            if fault.choice & 32 == 0 { links.cut(node, other) }
            later(fault.span) {
                $0.links.connect(node, member)
                $0.links.connect(node, other)
            }
        case .hostPathCut:
            links.cut(host, node, isOneWay: fault.choice & 16 == 0)
            // For longer than the hosts take to notice, and than an owner stays.
            later(3 * fault.span) { $0.links.connect(host, node) }
        case .hostPathBreak:
            guard let served = daemons.first(where: { $0.node == node })?.served else { return false }
            served.breakConnections(to: host)
        case .partition:
            for daemon in daemons { links.cut(daemon.node, member) }
            later(fault.span) { world in
                for daemon in world.daemons { world.links.connect(daemon.node, member) }
            }
        case .slowLink:
            links.slow(node, member, by: 50_000 + fault.choice % 20_000_000)
            later(fault.span) { $0.links.slow(node, member, by: 0) }
        default: break
        }
        return true
    }

    private func injectMember(_ fault: Fault) -> Bool {
        let target = targets[fault.member]
        switch fault.kind {
        case .targetKill:
            guard target.isUp else { return false }
            target.stop(power: false, isSilent: false)
            later(fault.span) { _ in target.start() }
        case .targetPause:
            guard target.isUp, !target.isPaused else { return false }
            target.isPaused = true
            later(fault.span) { _ in target.goOn() }
        case .slowDisk:
            target.disk.behaviour.slowBlocks = 0..<UInt64.max
            target.disk.behaviour.slowness = 1_000_000 + fault.choice % 60_000_000
            later(fault.span) { _ in target.disk.behaviour.slowness = 0 }
        case .stuckDisk:
            target.disk.behaviour.isStuck = true
            later(fault.span) { _ in target.disk.behaviour.isStuck = false }
        default: break
        }
        return true
    }
}
