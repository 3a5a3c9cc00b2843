import Base
import Foundation
import Logging
import Succession
import VolumeRegistry
import VolumedConfiguration

/// Does what the succession of this daemon's volumes says: calls the registry, and has the daemon attach, serve, hide and detach.
actor Successor {
    private let settings: SuccessionSettings
    private let registry: any Registry
    private unowned let daemon: Daemon
    private let journal: Journal
    private var state = DaemonSuccession()
    private var leases: [LeaseNumber: Lease] = [:]
    /// The steps of each volume, one after another.
    private var steps: [String: Task<Void, Never>] = [:]
    private var care: [Task<Void, Never>] = []
    /// The owners and daemons as they were last seen.
    private var listing = OwnersListing(revision: Revision(0))
    private var sightings: [String: Sighting] = [:]
    /// Hand-overs that were asked for, by their volumes.
    private var handOvers: [String: HandOver] = [:]
    private var registryProblem: String?

    /// A volume's owner, as it was seen.
    private struct Sighting {
        var owner: String?
        var since = Date()
        /// How often it has changed.
        var changes = 0
    }

    private struct HandOver {
        let successor: String
        let began = ContinuousClock.now
        let answer: CheckedContinuation<Result<Double, TercetError>, Never>
    }

    /// Between two looks at the registry, in milliseconds: a hand-over is seen with the next one.
    private static let lookMilliseconds = 50
    /// Between two looks at the time, in milliseconds.
    private static let tickMilliseconds = 20
    private static let stopSeconds = 25.0

    init(_ settings: SuccessionSettings, _ registry: any Registry, daemon: Daemon, journal: Journal) {
        self.settings = settings
        self.registry = registry
        self.daemon = daemon
        self.journal = journal
    }

    /// The time in which a call of the registry has to be answered, in milliseconds: a part of the lease.
    static func callMilliseconds(_ settings: SuccessionSettings) -> Int { Int(settings.leaseSeconds) * 1000 / 4 }

    // MARK: Begin and end

    /// Throws where another daemon has the same name or place.
    func begin() async throws(TercetError) {
        do throws(RegistryError) { listing = try await registry.owners() } catch {
            throw TercetError(.unavailable, error.message)
        }
        // One with this name may be the one that died just now: its lease ends by itself.
        if let other = listing.daemons.first(where: { $0.record.place == settings.place }),
            other.record.name != settings.name
        {
            throw TercetError(
                .invalid,
                "place \(settings.place) is daemon \(other.record.name)'s: hosts would take two controllers for one; each daemon needs a "
                    + "place of its own")
        }
        care = [
            Task {
                while !Task.isCancelled {
                    self.take(.time)
                    try? await Task.sleep(for: .milliseconds(Self.tickMilliseconds))
                }
            },
            Task {
                while !Task.isCancelled {
                    await self.look()
                    try? await Task.sleep(for: .milliseconds(Self.lookMilliseconds))
                }
            },
        ]
    }

    /// A volume is offered here, and may be owned from now on.
    func add(_ volume: String) {
        sightings[volume] = Sighting()
        take(.ready(volume))
        guard let lease = state.lease, let held = leases[lease.number] else { return }
        Task { try? await self.registry.announce(self.record, held) }
    }

    /// Gives all volumes to others, and the lease back.
    func stop() async {
        take(.stop)
        let end = ContinuousClock.now + .seconds(Self.stopSeconds)
        while !state.isOver, ContinuousClock.now < end { try? await Task.sleep(for: .milliseconds(5)) }
        for task in care { task.cancel() }
        for task in care { await task.value }
    }

    private var record: DaemonRecord {
        DaemonRecord(name: settings.name, place: settings.place, volumes: state.volumes.keys.sorted())
    }

    // MARK: Events and effects

    private func take(_ event: SuccessionEvent) {
        for effect in state.take(event, now: .now()) { perform(effect) }
        for (volume, handOver) in handOvers {
            switch state.volumes[volume]?.state {
            case .leaving, .givingUp: continue
            default:
                handOvers[volume] = nil
                handOver.answer.resume(
                    returning: .failure(
                        TercetError(.failed, "it was not handed over: this daemon's lease ended meanwhile")))
            }
        }
    }

    private func perform(_ effect: SuccessionEffect) {
        switch effect {
        case .grant: Task { await self.grant() }
        case .renew(let lease): Task { await self.renew(lease) }
        case .revoke(let lease):
            guard let held = leases.removeValue(forKey: lease) else { break }
            Task { try? await self.registry.revoke(held) }
        case .claim(let volume, let lease): step(volume) { await self.claim(volume, lease) }
        case .attach(let volume, let fencing):
            step(volume) {
                let isAttached = await self.daemon.attachOwned(volume, takesOver: fencing == .fences)
                await self.take(.volume(volume, isAttached ? .attached : .attachFailed))
            }
        case .serve(let volume): step(volume) { await self.serve(volume) }
        case .hide(let volume, let departure):
            note(volume, .warning, "not served any more: \(words(departure))")
            step(volume) { await self.daemon.hideOwned(volume) }
        case .detach(let volume):
            step(volume) {
                await self.daemon.detachOwned(volume)
                await self.take(.volume(volume, .detached))
            }
        case .pass(let volume, let claim, let successor): step(volume) { await self.pass(volume, claim, successor) }
        case .release(let volume, let claim):
            step(volume) {
                await self.giveUp(volume) { () async throws(RegistryError) in
                    try await self.registry.release(volume, claim: Revision(claim.number))
                }
            }
        }
    }

    private func step(_ volume: String, _ body: @escaping @Sendable () async -> Void) {
        let former = steps[volume]
        steps[volume] = Task {
            await former?.value
            await body()
        }
    }

    private func note(_ volume: String, _ level: Logger.Level, _ text: String) {
        journal.write(level, "volume \(text)", ["volume": "\(volume)", "daemon": "\(settings.name)"])
        Task { await self.daemon.noteOwned(volume, text) }
    }

    private func words(_ departure: Departure) -> String {
        switch departure {
        case .leaseLost: "the lease has ended, or could not be renewed in time"
        case .claimLost: "the registry names another owner, or none"
        case .deposed: "another host has attached it"
        case .handOver(let successor): "it is handed over to \(successor)"
        case .stopping: "the daemon stops"
        }
    }

    // MARK: The registry

    private func grant() async {
        let asked = MonotonicTime.now()
        do throws(RegistryError) {
            let lease = try await registry.grantLease(seconds: settings.leaseSeconds)
            try await registry.announce(record, lease)
            let number = LeaseNumber(lease.id)
            leases[number] = lease
            take(.granted(number, seconds: lease.seconds, asked: asked))
        } catch {
            tell(error)
            take(.grantFailed)
        }
    }

    private func renew(_ lease: LeaseNumber) async {
        guard let held = leases[lease] else { return take(.leaseLost(lease)) }
        let asked = MonotonicTime.now()
        do throws(RegistryError) {
            let seconds = try await registry.keepAlive(held)
            take(.renewed(lease, seconds: seconds, asked: asked))
        } catch {
            tell(error)
            take(error.code == .leaseLost ? .leaseLost(lease) : .renewalFailed(lease))
        }
    }

    private func claim(_ volume: String, _ lease: LeaseNumber) async {
        guard let held = leases[lease] else { return take(.volume(volume, .claimFailed)) }
        do throws(RegistryError) {
            let claim = try await registry.claim(volume, for: settings.name, held)
            take(.volume(volume, .claimed(ClaimNumber(claim.number), lease)))
        } catch {
            if case .conflict = error.code {} else { tell(error) }
            take(.volume(volume, .claimFailed))
        }
    }

    private func serve(_ volume: String) async {
        await daemon.showOwned(volume) { [weak self] in Task { [weak self] in await self?.lost(volume) } }
        note(volume, .notice, "served: this daemon owns it")
    }

    private func lost(_ volume: String) { take(.volume(volume, .deposed)) }

    private func pass(_ volume: String, _ claim: ClaimNumber, _ successor: String) async {
        await giveUp(volume) { () async throws(RegistryError) in
            guard let other = await self.daemonNamed(successor) else {
                throw RegistryError(.leaseLost, "daemon \(successor): is not there any more")
            }
            return try await self.registry.pass(volume, claim: Revision(claim.number), to: other)
        }
    }

    private func daemonNamed(_ name: String) -> PresentDaemon? { listing.daemons.first { $0.record.name == name } }

    private func giveUp(
        _ volume: String, _ body: @Sendable () async throws(RegistryError) -> Revision
    ) async {
        do throws(RegistryError) {
            let moment = try await body()
            if let handOver = handOvers.removeValue(forKey: volume) {
                let time = (ContinuousClock.now - handOver.began) / .milliseconds(1)
                handOver.answer.resume(returning: .success(time))
            }
            take(.volume(volume, .gaveUp(ClaimNumber(moment.number))))
        } catch {
            note(volume, .warning, "could not be given up: \(error.message)")
            handOvers.removeValue(forKey: volume)?.answer.resume(
                returning: .failure(TercetError(.failed, "it was not handed over: \(error.message)")))
            take(.volume(volume, .givingUpFailed))
        }
    }

    private func look() async {
        do throws(RegistryError) {
            let seen = try await registry.owners()
            listing = seen
            if registryProblem != nil {
                registryProblem = nil
                journal.write(.notice, "registry answers again")
            }
            for volume in state.volumes.keys { sight(volume, seen.owners[volume]?.name) }
            take(
                .seen(
                    OwnersView(
                        moment: ClaimNumber(seen.revision.number),
                        owners: seen.owners.mapValues {
                            SeenOwner(
                                name: $0.name, lease: LeaseNumber($0.lease), claim: ClaimNumber($0.revision.number))
                        })))
        } catch {
            tell(error)
        }
    }

    private func sight(_ volume: String, _ owner: String?) {
        guard let former = sightings[volume], former.owner != owner else { return }
        sightings[volume] = Sighting(owner: owner, changes: former.changes + 1)
        note(
            volume, .notice,
            owner.map { "owned by \($0)" + (former.owner.map { ", before by \($0)" } ?? "") }
                ?? "owned by nobody, before by \(former.owner ?? "nobody")")
    }

    /// Tells a problem of the registry once, until it answers again.
    private func tell(_ error: RegistryError) {
        guard registryProblem != error.message else { return }
        // An outage has many words, and one line is enough.
        if registryProblem == nil || error.code != .unavailable {
            journal.write(.warning, "registry: \(error.message)", ["daemon": "\(settings.name)"])
        }
        registryProblem = error.message
    }

    // MARK: Operators

    /// Hands a volume over. Returns the successor, and how long it took to give it up, in milliseconds.
    func handOver(_ volume: String, to wanted: String?) async throws(TercetError) -> (String, Double) {
        guard let present = state.volumes[volume] else {
            throw TercetError(.notFound, "volume \(volume): is not shared with other daemons")
        }
        let standbys = standbys(volume)
        guard present.canHandOver else {
            let owner = sightings[volume]?.owner.map { "\($0) owns it: ask that daemon" } ?? "nobody owns it yet"
            throw TercetError(.unavailable, "volume \(volume): is not served here; \(owner)")
        }
        guard let successor = wanted ?? standbys.first, standbys.contains(successor) else {
            let names = standbys.isEmpty ? "none" : standbys.joined(separator: ", ")
            throw TercetError(
                .invalid,
                "volume \(volume): \(wanted.map { "daemon \($0)" } ?? "no daemon") stands by for it; standing by: \(names)"
            )
        }
        let result = await withCheckedContinuation {
            (continuation: CheckedContinuation<Result<Double, TercetError>, Never>) in
            handOvers[volume] = HandOver(successor: successor, answer: continuation)
            take(.volume(volume, .handOver(to: successor)))
        }
        return (successor, try result.get())
    }

    private func standbys(_ volume: String) -> [String] {
        let owner = state.volumes[volume]?.canHandOver == true ? settings.name : sightings[volume]?.owner
        return listing.daemons.map(\.record).filter { $0.volumes.contains(volume) && $0.name != owner }.map(\.name)
    }

    /// A volume's place among the daemons, in the words of the control socket.
    func ownership(_ volume: String) -> SuccessionReport? {
        guard let present = state.volumes[volume], let sighting = sightings[volume] else { return nil }
        let now = MonotonicTime.now()
        return SuccessionReport(
            daemon: settings.name, role: present.words, isServing: present.isServing, owner: sighting.owner,
            since: sighting.since,
            leaseEnd: state.lease.map { Date(timeIntervalSinceNow: Double($0.end.nanoseconds(since: now)) / 1e9) },
            standbys: standbys(volume), changes: sighting.changes)
    }
}

/// A volume's place among several daemons.
struct SuccessionReport: Sendable {
    var daemon: String
    var role: String
    var isServing: Bool
    var owner: String?
    var since: Date
    var leaseEnd: Date?
    var standbys: [String]
    var changes: Int
}

extension VolumeSuccession {
    var isServing: Bool { if case .serving = state { true } else { false } }

    var words: String {
        switch state {
        case .standingBy: "standing by"
        case .claiming: "claiming it"
        case .attaching, .attachingInVain: "attaching it"
        case .serving: "serving"
        case .leaving: "detaching it"
        case .givingUp: "giving it up"
        case .deposed: "waiting for the host that has taken it over"
        case .ended: "stopping"
        }
    }
}
