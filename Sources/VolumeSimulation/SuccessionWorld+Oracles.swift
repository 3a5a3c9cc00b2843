import Base
import NVMeInitiator
import Replication
import Simulation
import Succession

/// The judgement of what daemons and hosts do.
extension SuccessionWorld {
    // MARK: Daemons

    /// A daemon was told something, and does something about it.
    func note(_ daemon: SuccessionDaemon, _ event: SuccessionEvent, _ effects: [SuccessionEffect]) {
        guard !effects.isEmpty else { return }
        trace { "\(daemon.name): \(Self.words(event)) -> \(effects)" }
        for effect in effects {
            switch effect {
            case .attach(_, .fences): judgeAttach(daemon)
            case .hide(_, .failBack(let successor)): judgeFailBack(daemon, successor)
            default: break
            }
        }
    }

    /// The volume goes back to a daemon that prefers it: all that it needs there has to be there, or was a moment ago.
    private func judgeFailBack(_ owner: SuccessionDaemon, _ name: String) {
        counts.failBacks += 1
        guard let successor = daemons.first(where: { $0.name == name }),
            network.now > livedAt[successor.place].advanced(byMilliseconds: Self.rumourMilliseconds)
        else { return }
        fail(
            .noPath,
            "\(owner.name) gives the volume back to \(name), which has not reached two members and all hosts for "
                + "\(Self.rumourMilliseconds) ms")
    }

    /// A word on what a daemon reaches is that old at the most, as long as it runs and the registry hears and tells.
    private static let rumourMilliseconds: UInt64 = 400

    /// Notes the daemons to which the volume could go now.
    func noteLiving() {
        guard profile.preferredDaemon != nil, network.now >= notesAt else { return }
        notesAt = network.now.advanced(byMilliseconds: 20)
        let owner = daemons.first(where: \.isShown)
        let mayBeUntold = !registryCuts.isEmpty || !answerCuts.isEmpty || !slowRegistry.isEmpty
        for daemon in daemons {
            guard daemon.isRunning, !mayBeUntold else {
                // Its last word counts until its lease ends.
                livedAt[daemon.place] = network.now.advanced(byMilliseconds: 1000)
                continue
            }
            guard reachesMembers(daemon.place), network.now > livedAt[daemon.place] else { continue }
            let isLiving = hosts.allSatisfy { host in
                host.paths[daemon.place].isConnected || owner.map { !host.paths[$0.place].isConnected } ?? true
            }
            if isLiving { livedAt[daemon.place] = network.now }
        }
    }

    private static func words(_ event: SuccessionEvent) -> String {
        if case .seen(let view) = event {
            let owner = view.owners.values.first.map { "\($0.name), claim \($0.claim.number)" } ?? "nobody"
            return "seen \(owner) at \(view.moment.number)"
        }
        return "\(event)"
    }

    /// A daemon fences whoever has the volume: it must not go by a claim that it has itself given up.
    private func judgeAttach(_ daemon: SuccessionDaemon) {
        guard case .attaching(let claim, _) = daemon.state else { return }
        guard let given = daemon.givenUp, claim < given else { return }
        fail(
            .overtakenAnswer,
            "\(daemon.name) attaches the volume by claim \(claim.number), which it has given up (\(given.number))")
    }

    // MARK: I/O

    /// An I/O of a host has ended well.
    func ended(_ operation: MultipathHost.Running, _ cookie: UInt64, by place: Int, _ host: MultipathHost) {
        acknowledged()
        switch operation.kind {
        case .flush: history.flushed(since: operation.sequence)
        case .write, .writeZeroes:
            judgeWriter(operation, place, host)
            judgeReservation(operation, host)
            for block in operation.start..<operation.start + operation.count {
                let isPossible = history.writeAcknowledged(
                    block,
                    BlockHistory.Acknowledgement(
                        id: cookie, value: operation.value, isDurable: true, writer: 1, holders: .all,
                        startedAt: operation.began.nanoseconds, lastStop: [0, 0, 0]))
                if !isPossible {
                    fail(
                        .contents,
                        "\(host.name): block \(block): \(operation.value) was acknowledged, and had been ruled out")
                }
            }
        default: judgeRead(operation, place, host)
        }
    }

    /// A write was refused for a reservation's sake.
    func conflicted(_ operation: MultipathHost.Running, _ cookie: UInt64, by place: Int, _ host: MultipathHost) {
        counts.refusals += 1
        if host.number == 0 || operation.kind == .read {
            fail(.reservationForgotten, "\(host.name): its \(operation.kind) is refused by d\(place) for a reservation")
        }
        if case .free = operation.reservation, operation.reservation == reservation.certainty {
            fail(
                .reservationForgotten,
                "\(host.name): its \(operation.kind) is refused by d\(place), and the reservation was given up before")
        }
        guard operation.kind != .flush else { return }
        for block in operation.start..<operation.start + operation.count {
            // Zeroes may be there from before.
            if operation.mayHaveLanded || operation.value == 0 {
                history.writeAbandoned(block, id: cookie)
            } else {
                history.writeRefused(block, id: cookie, value: operation.value)
            }
        }
    }

    /// A write counts only if the daemon that acknowledged it could write at some time since it was sent.
    private func judgeWriter(_ operation: MultipathHost.Running, _ place: Int, _ host: MultipathHost) {
        let isLegal = tenures.contains { tenure in
            tenure.daemon == place
                && !tenures.contains { $0.key > tenure.key && $0.began < operation.submitted }
        }
        guard !isLegal else { return }
        fail(
            .acknowledgedAfterDeposition,
            "\(host.name): d\(place) acknowledged a write that was sent when another daemon had the volume")
    }

    private func judgeReservation(_ operation: MultipathHost.Running, _ host: MultipathHost) {
        guard host.number != 0, case .held = operation.reservation, operation.reservation == reservation.certainty
        else { return }
        fail(
            .reservationForgotten,
            "\(host.name): a write was acknowledged while another host held a reservation (Write Exclusive)")
    }

    private func judgeRead(_ operation: MultipathHost.Running, _ place: Int, _ host: MultipathHost) {
        // One whose clock or lease does not tell the truth reads for longer than it owns the volume.
        let mayBeOld = daemons[place].wasUntimely(since: operation.submitted)
        for index in 0..<operation.count {
            let block = operation.start + index
            let content = host.data(operation, index)
            guard let value = BlockContent.value(of: block, in: content) else {
                fail(.tornBlock, "\(host.name): block \(block) \(BlockContent.describe(content))")
                continue
            }
            let snapshot = operation.snapshots[index]
            if mayBeOld {
                if !history.isPast(block, value) {
                    fail(.contents, "\(host.name): block \(block): d\(place) read \(value), which it never held")
                }
                continue
            }
            let candidates = history.blocks[block].candidates
            if !history.readReturned(block, value, snapshot: snapshot) {
                fail(
                    .contents,
                    "\(host.name): block \(block): d\(place) read \(value); possible: \(candidates), when it was sent: "
                        + "\(snapshot.candidates)")
            }
        }
    }
}
