import Base
import BlockInterface
import NVMeTarget
import Replication
import Simulation
import VolumeDriver

/// The work of operators in a world.
extension VolumeWorld {
    func operate(_ fault: Fault) -> Bool {
        guard let initiator = current, !initiator.isPaused, let volume = initiator.volume, initiator.phase == .serving,
            !isServed(after: initiator)
        else { return false }
        initiator.touch()
        switch fault.kind {
        case .cleanDetach:
            initiator.workload?.isStopped = true
            if !volume.engine.detach(now: initiator.now) {
                initiator.workload?.isStopped = false
                return false
            }
        case .scrub: volume.engine.startScrub()
        case .resyncPause:
            volume.engine.pauseResync()
            later(fault.span) { _ in initiator.volume?.engine.resumeResync() }
        case .replace, .replaceBySame, .replaceByFormer: return replace(fault, volume: initiator)
        case .grow: return grow(fault, initiator)
        default: break
        }
        return true
    }

    private func replace(_ fault: Fault, volume initiator: InitiatorProcess) -> Bool {
        guard let volume = initiator.volume, mayDestroy(fault.member), !isGrowing,
            strangers == [],
            (profile.replacesUnhealthy ? 1...2 : 2...2)
                .contains(volume.engine.membersInSync.without(fault.member).count),
            registeredBlocks == targets.map({ $0.disk.geometry.blockCount })
        else { return false }
        let target = targets[fault.member]
        let uuid: UUIDBytes
        switch fault.kind {
        case .replaceBySame: uuid = target.namespaceUUID
        case .replaceByFormer:
            guard let former = target.formerUUID else { return false }
            uuid = former
        default: uuid = target.nextUUID
        }
        guard volume.engine.replaceMember(fault.member, uuid: uuid, now: initiator.now) else { return false }
        meet(.memberReplaced)
        fresh.insert(fault.member)
        initiator.knownFresh.insert(fault.member)
        target.stop(power: true, isSilent: true)
        switch fault.kind {
        case .replaceBySame:
            // Emptied by the operator, or left as it is.
            if fault.choice & 2 == 0 { target.eraseNamespace() }
        case .replaceByFormer:
            target.restoreFormer()
            if profile.formersAreUsed { useOtherwise(target, choice: fault.choice >> 8) }
        default:
            target.replaceNamespace()
            if fault.choice & 1 == 0 { writeForeignRecord(to: target) }
        }
        history.cachesLost(lastLosses(of:))
        second?.cachesLost()
        later(fault.span / 8) { $0.bringBack(target) }
        return true
    }

    private func grow(_ fault: Fault, _ initiator: InitiatorProcess) -> Bool {
        guard !isGrowing, fresh == [], strangers == [],
            registeredBlocks == targets.map({ $0.disk.geometry.blockCount }),
            registeredBlocks.allSatisfy({ $0 < 1000 })
        else { return false }
        let more = 64 + fault.choice % 64
        for target in targets {
            // Data will lie where metadata is now.
            target.disk.behaviour.misreading = 0..<0
            target.disk.resize(
                toBlocks: target.disk.geometry.blockCount + more, fill: 0xA0 + UInt8(target.index.number))
            target.process?.target.refreshNamespaces()
        }
        // The operator asks again until the members have told their new sizes.
        let blocks = UInt64(history.blocks.count + profile.places.gap)
        tryToGrow(initiator, to: blocks + 1 + fault.choice % 16, times: 100)
        return true
    }

    private func tryToGrow(_ initiator: InitiatorProcess, to blocks: UInt64, times: Int) {
        guard times > 0, initiator.isAlive, !isServed(after: initiator), let volume = initiator.volume else { return }
        initiator.touch()
        if !initiator.isPaused, initiator.phase == .serving,
            volume.engine.grow(dataBlocks: blocks, now: initiator.now)
        {
            isGrowing = true
            return
        }
        later(10_000_000) { $0.tryToGrow(initiator, to: blocks, times: times - 1) }
    }
}
