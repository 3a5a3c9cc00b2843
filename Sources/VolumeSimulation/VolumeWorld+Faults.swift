import Base
import BlockInterface
import NVMeSpec
import NVMeTarget
import Replication
import Simulation
import VolumeDriver

/// Faults, and the actions of operators.
extension VolumeWorld {
    /// Faults that destroy data touch one member at a time, so that one good copy of everything remains.
    func mayDestroy(_ member: MemberIndex) -> Bool {
        fresh == []
            && targets.allSatisfy {
                $0.index == member
                    || ($0.disk.unreadableCount == 0 && $0.disk.behaviour.failingWrites.isEmpty
                        && $0.disk.behaviour.fullBlocks.isEmpty)
            }
    }

    /// Runs `body` later, unless the faults have stopped by then.
    func later(_ delay: UInt64, _ body: @escaping (VolumeWorld) -> Void) {
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

    /// Lets a fault happen; false where it cannot, as things are.
    private func happens(_ fault: Fault) -> Bool {
        switch fault.kind {
        case .targetKill, .targetPowerLoss, .targetQuickRestart, .targetPause, .powerLossOfAll, .inaccessible,
            .storeErrors, .targetStall:
            injectTarget(fault)
        case .writeErrors, .latentError, .slowDisk, .stuckDisk, .fullDisk, .slowRecords, .driveReseat:
            injectDisk(fault)
        case .flushErrors, .lastingErrors, .misreadRecords, .heavyTail: injectLastingDiskFault(fault)
        case .partition, .partitionFromMember, .partitionToMember, .partitionOfSome, .partitionOfInitiators, .flapping,
            .connectionBreak, .loss, .slowLink, .remoteAccessError, .targetDeviceRemoval, .initiatorDeviceRemoval:
            injectFabric(fault)
        case .initiatorCrash, .initiatorPowerLoss, .initiatorPause, .competitor, .crashAtLoss, .initiatorStall:
            injectInitiator(fault)
        case .clockStep: stepClock(fault)
        case .cleanDetach, .scrub, .resyncPause, .replace, .grow, .replaceBySame, .replaceByFormer: operate(fault)
        case .formerReturns: returnFormer(fault)
        // There are none.
        default: false
        }
    }

    // MARK: Targets

    private func injectTarget(_ fault: Fault) -> Bool {
        let target = targets[fault.member]
        switch fault.kind {
        case .targetKill: return takeDown(target, power: false, for: fault.span)
        case .targetPowerLoss: return takeDown(target, power: true, for: fault.span)
        case .targetQuickRestart:
            return takeDown(target, power: fault.choice & 1 == 0, for: 50_000 + fault.choice % 400_000)
        case .targetPause:
            guard target.isUp, !target.isPaused else { return false }
            target.isPaused = true
            later(fault.span) { $0.targets[fault.member].goOn() }
        case .powerLossOfAll:
            checkCoverage("before a loss of all power")
            var isAnyDown = false
            for target in targets
            where takeDown(target, power: true, for: fault.span / 2 + draw(0...20_000_000)) { isAnyDown = true }
            guard isAnyDown else { return false }
            if fault.choice & 1 == 0 { crash(isSilent: true, after: fault.span / 2) }
        case .inaccessible:
            guard target.isUp else { return false }
            target.setAccess(.inaccessible)
            later(fault.span) { $0.targets[fault.member].setAccess(.optimized) }
        case .storeErrors:
            target.store.fails = true
            later(fault.span) { $0.targets[fault.member].store.fails = false }
        case .targetStall:
            guard target.isUp, !target.isPaused, !target.stallsAfterPoll else { return false }
            target.stallsAfterPoll = true
            later(fault.span) { $0.targets[fault.member].goOn() }
        default: break
        }
        return true
    }

    /// False where it is down already.
    private func takeDown(_ target: TargetMachine, power: Bool, for span: UInt64) -> Bool {
        guard target.isUp else { return false }
        if power, target.disk.unflushedCount > 0 { meet(.powerLossWithDirtyCache) }
        target.stop(power: power, isSilent: power)
        history.cachesLost(lastLosses(of:))
        second?.cachesLost()
        checkCoverage("member \(target.index) goes down")
        later(span) { $0.bringBack(target) }
        return true
    }

    func bringBack(_ target: TargetMachine) {
        guard !target.isUp else { return }
        trace { "target \(target.index) is back" }
        if let serving, serving.isAlive, serving.phase == .serving, serving.lastInSync.contains(target.index) {
            meet(.targetRestartsQuickly)
        }
        noteReturn(target.index)
        target.start()
        checkCoverage("member \(target.index) is back")
    }

    // MARK: Disks

    private func injectDisk(_ fault: Fault) -> Bool {
        let disk = targets[fault.member].disk
        let blocks = UInt64(history.blocks.count)
        switch fault.kind {
        case .writeErrors:
            guard mayDestroy(fault.member) else { return false }
            // Sometimes the superblock's blocks.
            let slots = layouts[fault.member].slotBlock(0)
            let start = fault.choice % 5 == 0 ? slots : address(of: fault.choice % blocks)
            disk.behaviour.failingWrites = start..<start + 1 + fault.choice % 16
            later(fault.span) { $0.targets[fault.member].disk.behaviour.failingWrites = 0..<0 }
        case .latentError:
            guard mayDestroy(fault.member) else { return false }
            // Until they are written again: where the I/O is most often.
            let start = fault.choice & 1 == 0 ? fault.choice % 16 : fault.choice % blocks
            for block in start..<min(start + 1 + fault.choice % 4, blocks) {
                disk.makeUnreadable(address(of: block))
            }
            later(400_000_000) { $0.targets[fault.member].disk.makeReadable() }
        case .slowDisk:
            disk.behaviour.slowBlocks = 0..<UInt64.max
            disk.behaviour.slowness = 1_000_000 + fault.choice % 30_000_000
            later(fault.span) { $0.targets[fault.member].disk.behaviour.slowness = 0 }
        case .slowRecords:
            let slots = layouts[fault.member].slotBlock(0)
            disk.behaviour.slowBlocks = slots..<slots + 2 * format.geometry.blocksPerPage
            disk.behaviour.slowness = 5_000_000 + fault.choice % 30_000_000
            later(fault.span) { $0.targets[fault.member].disk.behaviour.slowness = 0 }
        case .stuckDisk:
            disk.behaviour.isStuck = true
            later(fault.span) { $0.targets[fault.member].disk.behaviour.isStuck = false }
        case .fullDisk:
            // A thin pool that is full has the blocks of the metadata, which were written before: that may happen to all.
            let isThin = fault.choice % 3 != 0
            guard isThin || mayDestroy(fault.member) else { return false }
            disk.behaviour.fullBlocks = 0..<(isThin ? format.geometry.dataBlocks : UInt64.max)
            later(fault.span) { $0.targets[fault.member].disk.behaviour.fullBlocks = 0..<0 }
        case .driveReseat:
            guard targets[fault.member].takeDriveOut() else { return false }
            meet(.driveReseated)
            history.cachesLost(lastLosses(of:))
            checkCoverage("the drive of member \(fault.member) is out")
            // At once, as where only its controller was reset: nobody need have noticed.
            let span = fault.choice % 3 == 0 ? fault.choice % 200_000 : fault.span
            later(span) { world in
                world.targets[fault.member].putDriveBack()
                world.noteReturn(fault.member)
                world.checkCoverage("the drive of member \(fault.member) is back")
            }
        default: break
        }
        return true
    }

    private func address(of block: UInt64) -> UInt64 { UInt64(profile.places.address(of: Int(block))) }

    private func injectLastingDiskFault(_ fault: Fault) -> Bool {
        let target = targets[fault.member]
        let disk = target.disk
        switch fault.kind {
        case .flushErrors:
            guard mayDestroy(fault.member) else { return false }
            if fault.choice % 3 == 2 {
                disk.loseWriteback()
                break
            }
            disk.behaviour.failedFlush = fault.choice % 3 == 0 ? .kept : .forgotten
            later(fault.span) { $0.targets[fault.member].disk.behaviour.failedFlush = nil }
        case .lastingErrors:
            guard mayDestroy(fault.member) else { return false }
            let start = address(of: fault.choice % UInt64(history.blocks.count))
            disk.behaviour.failingWrites = start..<start + 1 + fault.choice % 16
        case .misreadRecords:
            // While a growth is under way nobody knows where data ends: only metadata is misread.
            guard registeredBlocks[fault.member] == disk.geometry.blockCount else { return false }
            let maps = layouts[fault.member].mapsStart
            disk.behaviour.misreading = maps..<UInt64.max
            let page = Int(format.geometry.blocksPerPage)
            disk.behaviour.misreadDistance = fault.choice & 1 == 0 ? 0 : fault.choice & 2 == 0 ? page : -page
            later(fault.span) { $0.targets[fault.member].disk.behaviour.misreading = 0..<0 }
        case .heavyTail:
            disk.behaviour.tailRarity = 50 + fault.choice % 300
            links.tailInterval[fault.member] = 50 + fault.choice % 300
        default: break
        }
        return true
    }

    /// False where the machine is down.
    private func stepClock(_ fault: Fault) -> Bool {
        let step = 1_000_000 + fault.choice % 400_000_000
        if fault.choice & 1 == 0 {
            guard let initiator = current else { return false }
            initiator.clock.ahead += Int64(step)
            initiator.touch()
        } else {
            guard targets[fault.member].isUp else { return false }
            targets[fault.member].clock.ahead += Int64(step)
        }
        return true
    }

    // MARK: The fabric

    private func injectFabric(_ fault: Fault) -> Bool {
        let member = fault.member
        switch fault.kind {
        case .partition:
            links.cut(member)
            later(fault.span) { $0.connect(member) }
        case .partitionFromMember:
            links.cut(member, isToMember: false)
            later(fault.span) { $0.connect(member) }
        case .partitionToMember:
            links.cut(member, isFromMember: false)
            later(fault.span) { $0.connect(member) }
        case .partitionOfSome:
            guard fault.choice % 8 != 0 else { return false }
            for index in MemberSet.all where fault.choice >> UInt64(index.number) & 1 == 1 {
                links.cut(index)
                later(fault.span / 2 + fault.choice % 20_000_000) { $0.connect(index) }
            }
        case .partitionOfInitiators: return divide(fault)
        case .flapping: flap(member, times: 1 + Int(fault.choice % 6), span: fault.span / 6)
        case .connectionBreak: return breakConnections(to: member)
        case .loss:
            links.lossInterval[member] = 5 + fault.choice % 300
            later(fault.span) { $0.links.lossInterval[member] = 0 }
        case .slowLink:
            links.delay[member] = 50_000 + fault.choice % 5_000_000
            later(fault.span) { $0.links.delay[member] = 0 }
        case .remoteAccessError: links.refuses[member] = true
        case .targetDeviceRemoval:
            guard targets[member].removeDevice() else { return false }
            meet(.deviceRemoved)
            later(fault.span) { $0.targets[member].returnDevice() }
        case .initiatorDeviceRemoval:
            guard let initiator = current, initiator.removeDevice() else { return false }
            meet(.deviceRemoved)
            later(fault.span) { _ in initiator.returnDevice() }
        default: break
        }
        return true
    }

    private func connect(_ member: MemberIndex, with side: LinkFaults.Side = .both) {
        links.connect(member, with: side)
        noteReturn(member)
    }

    /// Odd and even initiators reach other members: most often two of the three each, which is what a split brain takes.
    private func divide(_ fault: Fault) -> Bool {
        let choice = Int(fault.choice % 64)
        let sides: [(LinkFaults.Side, Int)] = [(.odd, choice % 4), (.even, choice / 4 % 4)]
        for (side, lost) in sides {
            // One member, or none.
            guard lost < memberCount else { continue }
            let member = MemberIndex(lost)
            links.cut(member, from: side)
            later(fault.span / 2 + fault.choice % 100_000_000) { $0.connect(member, with: side) }
        }
        if choice >= 32, compete() { return true }
        return choice % 16 != 15
    }

    private func flap(_ member: MemberIndex, times: Int, span: UInt64) {
        guard times > 0 else { return }
        links.cut(member)
        later(1 + span / 2) { world in
            world.connect(member)
            world.later(1 + span / 2) { $0.flap(member, times: times - 1, span: span) }
        }
    }

    /// False where nobody is there.
    private func breakConnections(to member: MemberIndex) -> Bool {
        for initiator in alive { initiator.fabric.breakConnections(to: member.number) }
        return !alive.isEmpty
    }

    // MARK: Initiators

    private func injectInitiator(_ fault: Fault) -> Bool {
        switch fault.kind {
        case .initiatorCrash: return crash(isSilent: false, after: fault.span / 4)
        case .initiatorPowerLoss: return crash(isSilent: true, after: fault.span / 4)
        case .initiatorPause:
            guard let initiator = current, !initiator.isPaused else { return false }
            initiator.isPaused = true
            initiator.wasPaused = true
            if fault.choice & 1 == 0 { later(fault.span / 4) { $0.compete() } }
            later(fault.span) { _ in initiator.goOn() }
        case .initiatorStall:
            guard let initiator = current, !initiator.isPaused, !initiator.stallsAfterPoll else { return false }
            initiator.stallsAfterPoll = true
            initiator.wasPaused = true
            if fault.choice & 1 == 0 { later(fault.span / 4) { $0.compete() } }
            later(fault.span) { _ in initiator.goOn() }
        case .competitor: return compete()
        case .crashAtLoss:
            crashesAtLossOf = fault.member
            return breakConnections(to: fault.member)
        default: break
        }
        return true
    }

    /// False where nobody is there.
    @discardableResult
    private func crash(isSilent: Bool, after span: UInt64) -> Bool {
        guard let initiator = current else { return false }
        noteCrash(initiator)
        end(initiator, isSilent: isSilent)
        checkCoverage("an initiator crashed")
        later(span) { world in
            if world.alive.isEmpty { world.startInitiator() }
        }
        return true
    }

    /// The next initiator meets the member that was lost, and one of the two others.
    func crashAtLoss(of member: MemberIndex) {
        guard !isHealing else { return }
        let other = below(2) == 0 ? member.next : member.next.next
        links.cut(other)
        later(120_000_000) { $0.connect(other) }
        crash(isSilent: chance(50), after: 1_000_000)
    }

    /// False where there are enough.
    @discardableResult
    private func compete() -> Bool {
        guard alive.count < 3, mayCompete else { return false }
        checkCoverage("another initiator attaches")
        startInitiator()
        return true
    }
}
