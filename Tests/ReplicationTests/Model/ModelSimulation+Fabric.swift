import Base
import Glibc
import Replication

/// The network between initiators and targets.
extension ModelSimulation {
    private func networkDelay() -> UInt64 { 5_000 + UInt64(random.below(60_000)) }

    private func mediaDelay(_ target: ModelTarget) -> UInt64 {
        var delay = (20_000 + UInt64(random.below(300_000))) * target.slowness
        if target.stallUntil > queue.now { delay += target.stallUntil - queue.now }
        // Now and then a command is stuck for long, and lands in the end.
        if !isHealing, !profile.faults.isEmpty, random.below(500) == 0 {
            delay += 50_000_000 + UInt64(random.below(250_000_000))
        }
        return delay
    }

    func submit(_ command: ModelCommand) {
        let member = command.request.member
        queue.after(networkDelay()) { [self] in
            let target = targets[member]
            guard !cut[member], target.isUp,
                let session = target.sessions.first(where: { $0.association == command.association && !$0.isDead })
            else { return }
            session.commands.append(command)
            start(command, at: target)
        }
    }

    private func start(_ command: ModelCommand, at target: ModelTarget) {
        let request = command.request
        let isWrite = request.operation == .write || request.operation == .writeZeroes
        if isWrite, !target.mayWrite(command.initiator.host) { return answer(command, target, .reservationConflict) }
        if target.isBusy, random.chance(50) { return answer(command, target, random.chance(50) ? .busy : .notDone) }
        // The target reads a write's data from the host's memory, unless the queue pair has gone into error before.
        queue.after(UInt64(random.below(20_000))) { [self] in
            guard !command.isOver else { return }
            if request.operation == .write {
                guard command.initiator.isAlive, command.initiator.associations[target.index] == command.association,
                    let memory = command.initiator.memory(request)
                else {
                    command.isOver = true
                    return
                }
                let length = Int(request.count) * 512
                let copy = UnsafeMutableRawPointer.allocate(byteCount: length, alignment: 512)
                memcpy(copy, memory, length)
                command.data = copy
            }
            command.isRunning = true
            let isRecord = isWrite && request.start >= layouts[target.index].slotBlock(0)
            queue.after(mediaDelay(target) + (isRecord ? target.recordDelay : 0)) { [self] in
                guard !command.isOver, target.isUp else { return }
                let status = target.execute(command)
                trace {
                    "m\(target.index) landed h\(command.initiator.host) \(request.operation) \(request.start)+\(request.count) \(status)"
                }
                answer(command, target, status)
            }
        }
    }

    private func answer(_ command: ModelCommand, _ target: ModelTarget, _ status: MemberStatus) {
        command.isOver = true
        if let session = target.sessions.first(where: { $0.association == command.association }) {
            session.commands.removeAll { $0 === command }
        }
        var data: [UInt8]?
        let request = command.request
        if request.operation == .read, status == .success {
            data = [UInt8](
                UnsafeRawBufferPointer(start: target.view + Int(request.start) * 512, count: Int(request.count) * 512))
        }
        queue.after(networkDelay()) { [self] in
            guard !cut[target.index], !cutOneWay[target.index] else { return }
            command.initiator.answered(command, status, data: data)
        }
    }

    // MARK: Connections

    func connect(_ initiator: ModelInitiator, _ member: MemberIndex) {
        queue.after(networkDelay() * 2) { [self] in
            let target = targets[member]
            guard target.isUp, !cut[member], !cutOneWay[member] else {
                return queue.after(3_000_000) { initiator.handle(.disconnected(member)) }
            }
            guard initiator.isAlive else { return }
            associationCount += 1
            let association = associationCount
            let old = target.sessions.filter { $0.host == initiator.host && !$0.isDead }
            target.sessions.append(ModelSession(association, host: initiator.host))
            if target.drainsAtConnect { for session in old { target.end(session, &random, torn: false) } }
            queue.after(networkDelay()) { [self] in
                initiator.associations[member] = association
                initiator.handle(
                    .connected(
                        member, association: association,
                        bootInstance: profile.bootInstancesTold ? target.bootInstance : 0,
                        blocks: UInt64(target.blocks)))
                // A target that went down meanwhile took the association with it.
                if !target.sessions.contains(where: { $0.association == association }) {
                    initiator.breakConnection(member, after: 100_000)
                }
                reportDead(initiator, member, association, old)
            }
        }
    }

    /// Tells when the commands of earlier associations can land no more.
    private func reportDead(
        _ initiator: ModelInitiator, _ member: MemberIndex, _ association: UInt64, _ old: [ModelSession]
    ) {
        if old.allSatisfy(\.isQuiet) {
            for session in old { session.isDead = true }
            initiator.handle(.associationDead(member, association: association - 1))
        } else {
            queue.after(5_000_000) { [self] in
                guard initiator.isAlive, initiator.associations[member] == association else { return }
                reportDead(initiator, member, association, old)
            }
        }
    }

    func reserve(_ initiator: ModelInitiator, _ member: MemberIndex, _ command: ReservationCommand) {
        let association = initiator.associations[member]
        queue.after(networkDelay()) { [self] in
            let target = targets[member]
            guard !cut[member], target.isUp, let association,
                target.sessions.contains(where: { $0.association == association && !$0.isDead })
            else { return }
            let status = target.reserve(command, host: initiator.host, &random)
            trace { "m\(member) h\(initiator.host) \(command): \(status)" }
            for victim in target.preemptedHosts { notifyPreempted(victim, member) }
            target.preemptedHosts = []
            let report = target.report(for: initiator.host)
            queue.after(networkDelay() + UInt64(random.below(100_000))) { [self] in
                guard !cut[member], !cutOneWay[member], initiator.associations[member] == association else { return }
                if case .report = command {
                    initiator.handle(.reservationReport(member, report))
                } else {
                    initiator.handle(.reservationDone(member, status))
                }
            }
        }
    }

    private func notifyPreempted(_ host: Int, _ member: MemberIndex) {
        queue.after(networkDelay()) { [self] in
            let initiator = initiators[host - 1]
            guard !cut[member], !cutOneWay[member], initiator.isAlive, initiator.associations[member] != nil else {
                return
            }
            initiator.handle(.registrationPreempted(member))
        }
    }

    /// A target has gone down: its initiators notice, sooner or later.
    func targetDied(_ member: MemberIndex) {
        for initiator in initiators where initiator.isAlive && initiator.associations[member] != nil {
            initiator.breakConnection(member, after: 20_000 + UInt64(random.below(10_000_000)))
        }
    }
}
