import Base
import Replication

/// Faults of the model's world.
extension ModelSimulation {
    func scheduleFault() {
        guard !profile.faults.isEmpty else { return }
        queue.after(1_000_000 + random.next() % profile.faultInterval) { [self] in
            guard !isHealing, failure == nil else { return }
            inject(profile.faults[random.below(profile.faults.count)])
            scheduleFault()
        }
    }

    /// Faults that destroy data touch one target at a time, so that one good copy of everything remains.
    private func mayDestroy(_ member: MemberIndex) -> Bool {
        targets.allSatisfy { $0.index == member || ($0.unreadable.isEmpty && $0.failsWritesIn.isEmpty && !$0.isFull) }
            && fresh == []
    }

    func inject(_ kind: ModelFault) {
        let member = MemberIndex(random.below(3))
        let target = targets[member]
        let span = 1_000_000 + UInt64(random.below(150_000_000))
        trace { "FAULT \(kind) member \(member) for \(span / 1000) us" }
        faultCounts["\(kind)", default: 0] += 1
        switch kind {
        case .kill: takeDown(target, power: false, for: span)
        case .powerLoss: takeDown(target, power: true, for: span)
        case .quickRestart: takeDown(target, power: random.chance(50), for: 100_000)
        case .partition:
            cut[member] = true
            queue.after(span) { self.cut[member] = false }
        case .oneWayPartition:
            cutOneWay[member] = true
            queue.after(span) { self.cutOneWay[member] = false }
        case .breakConnection:
            for initiator in initiators where initiator.isAlive { initiator.breakConnection(member, after: 10_000) }
        case .writeErrors:
            guard mayDestroy(member) else { return }
            let start = random.below(dataBlocks)
            target.failsWritesIn = start..<start + 1 + random.below(8)
            queue.after(span) { target.failsWritesIn = 0..<0 }
        case .latentError:
            guard mayDestroy(member) else { return }
            target.unreadable.insert(random.below(dataBlocks))
            queue.after(span) { target.unreadable = [] }
        case .busy:
            target.isBusy = true
            queue.after(span) { target.isBusy = false }
        case .slow:
            target.slowness = 100
            queue.after(span) { target.slowness = 1 }
        case .full:
            guard mayDestroy(member) else { return }
            target.isFull = true
            queue.after(span) { target.isFull = false }
        case .initiatorCrash: crashInitiator(after: span / 4)
        case .initiatorPause:
            guard let initiator = initiators.last(where: { $0.isAlive }), !initiator.isPaused else { return }
            initiator.isPaused = true
            if profile.allowsCompetitors, random.chance(50) { queue.after(span / 4) { self.compete() } }
            queue.after(span) { initiator.resume() }
        case .competitor: if profile.allowsCompetitors { compete() }
        case .cleanDetach:
            guard let initiator = initiators.last(where: { $0.isAlive }), initiator.isServing, !initiator.isPaused
            else { return }
            initiator.workload.isStopped = true
            initiator.deliver {
                if !initiator.engine.detach(now: initiator.now) { initiator.workload.isStopped = false }
            }
        case .powerLossOfAll:
            guard profile.allowsPowerLossOfAll else { return }
            checkCoverage("before a power loss of all")
            for target in targets { takeDown(target, power: true, for: span / 2 + UInt64(random.below(20_000_000))) }
            if random.chance(50) { crashInitiator(after: span / 2) }
        case .everything:
            for index in MemberSet.all where random.chance(60) {
                cut[index] = true
                queue.after(span / 2 + UInt64(random.below(20_000_000))) { self.cut[index] = false }
            }
        case .crashAtLoss:
            crashesAtLossOf = member
            for initiator in initiators where initiator.isAlive { initiator.breakConnection(member, after: 10_000) }
        case .slowRecords:
            target.recordDelay = 30_000_000
            queue.after(span) { target.recordDelay = 0 }
        case .scrub:
            guard let initiator = initiators.last(where: { $0.isAlive }), initiator.isServing else { return }
            initiator.deliver { initiator.engine.startScrub() }
        }
    }

    func takeDown(_ target: ModelTarget, power: Bool, for span: UInt64) {
        guard target.isUp else { return }
        target.crash(power: power, now: queue.now, &random)
        oracle.cachesLost(targets.map(\.lastStop))
        targetDied(target.index)
        queue.after(span) { [self] in
            guard !target.isUp, !isHealing else { return }
            target.start()
            checkCoverage("member \(target.index) back")
        }
    }

    func crashInitiator(after span: UInt64) {
        guard let initiator = initiators.last(where: { $0.isAlive }) else { return }
        initiator.isAlive = false
        initiator.workload.hostDied()
        checkCoverage("initiator crashed")
        queue.after(span) { [self] in
            if !isHealing, !initiators.contains(where: { $0.isAlive }) { startInitiator() }
        }
    }

    /// The next initiator meets the member that was lost, and one of the two others.
    func crashAtLoss(of member: MemberIndex) {
        guard !isHealing else { return }
        let other = random.below(2) == 0 ? member.next : member.next.next
        cut[other] = true
        queue.after(120_000_000) { self.cut[other] = false }
        crashInitiator(after: 1_000_000)
    }

    private func compete() {
        guard !isHealing, initiators.filter(\.isAlive).count < 2 else { return }
        startInitiator()
    }
}
