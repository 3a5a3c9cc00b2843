import Base
import Foundation
import Logging
import Succession
import VolumeDriver
import VolumeRegistry
import VolumedConfiguration

/// Does what the succession of this daemon's volumes says: calls the registry, and has the daemon attach, serve, hide and detach.
actor Successor {
    let settings: SuccessionSettings
    let registry: any Registry
    unowned let daemon: Daemon
    let journal: Journal
    var state: DaemonSuccession
    /// Volumes that this daemon prefers and could serve, as others are told of them; and how often the volumes that it serves were used.
    var readiness: [String: VolumePreference] = [:]
    var uses: [String: UInt64] = [:]
    /// The address at which others find this daemon; `nil` where it listens at all of its machine.
    private let place: String?
    /// Watches of other daemons, by their addresses.
    var watches: [String: PeerWatch] = [:]
    var leases: [LeaseNumber: Lease] = [:]
    /// The time of the present lease, for the volumes that are served during it.
    private var term: (lease: LeaseNumber, end: ServingTerm)?
    /// Leases that are being given back, and those of this daemon that could not be: the registry did not answer.
    var revocations: [LeaseNumber: Task<Void, Never>] = [:]
    var unrevoked: [LeaseNumber: Lease] = [:]
    /// Changes of owners that are under way, and those that wait for their turn.
    private var changes = 0
    private var changesToCome: [CheckedContinuation<Void, Never>] = []
    /// The reservations of hosts that are asked for while volumes are being attached, by the volumes' names.
    var reservations: [String: Task<Result<[UInt8]?, RegistryError>, Never>] = [:]
    /// The volumes' UUIDs, by their names.
    var identities: [String: UUIDBytes] = [:]
    /// Volumes that are served and cannot be used, since when.
    private var stalls: [String: ContinuousClock.Instant] = [:]
    /// The steps of each volume, one after another.
    private var steps: [String: Task<Void, Never>] = [:]
    private var care: [Task<Void, Never>] = []
    /// The owners and daemons as they were last seen.
    var listing = OwnersListing(revision: Revision(0))
    var sightings: [String: Sighting] = [:]
    /// Hand-overs that were asked for, by their volumes.
    var handOvers: [String: HandOver] = [:]
    private var registryProblems: [RegistryCalls: String] = [:]

    enum RegistryCalls { case looks, leases }

    /// A volume's owner, as it was seen.
    struct Sighting {
        var owner: String?
        var since = Date()
        /// How often it has changed.
        var changes = 0
    }

    struct HandOver {
        let successor: String
        let began = ContinuousClock.now
        let answer: CheckedContinuation<Result<Double, TercetError>, Never>
    }

    /// Between two looks at the registry, in milliseconds: a hand-over is seen with the next one.
    private static let lookMilliseconds = 50
    /// Between two looks at the time, in milliseconds.
    private static let tickMilliseconds = 20
    private static let stopSeconds = 25.0
    /// Changes of owners that the registry is asked for at a time: the renewal of the lease waits behind no more of them.
    private static let mostChanges = 4
    /// A volume that is served, and cannot be used for so long, is left to another daemon.
    private static let stallSeconds = 5.0
    private static let mostCallMilliseconds = 5000

    /// - Parameter place: where this daemon offers its volumes.
    init(
        _ settings: SuccessionSettings, _ registry: any Registry, daemon: Daemon, at place: SocketAddress?,
        journal: Journal
    ) {
        self.settings = settings
        self.registry = registry
        self.daemon = daemon
        self.journal = journal
        self.place = place.flatMap { $0.isWildcard ? nil : "\($0)" }
        state = DaemonSuccession(prefers: settings.prefers, settings.failBackTimes)
    }

    /// The time in which a call of the registry has to be answered, in milliseconds: a part of the lease, and no longer than an operator
    /// waits.
    static func callMilliseconds(_ settings: SuccessionSettings) -> Int {
        min(Int(settings.leaseSeconds) * 1000 / 4, mostCallMilliseconds)
    }

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
                    await self.lookForStalls()
                    try? await Task.sleep(for: .milliseconds(Self.lookMilliseconds))
                }
            },
            Task {
                while !Task.isCancelled, !self.settings.prefers.isEmpty {
                    await self.lookForReadiness()
                    try? await Task.sleep(for: .milliseconds(Self.readinessMilliseconds))
                }
            },
        ]
    }

    /// A volume is offered here, and may be owned from now on.
    func add(_ volume: String, _ uuid: UUIDBytes) {
        identities[volume] = uuid
        sightings[volume] = Sighting()
        take(.ready(volume))
    }

    /// Gives all volumes to others, and the lease back.
    func stop() async {
        await prepareToStop()
        take(.stop)
        let end = ContinuousClock.now + .seconds(Self.stopSeconds)
        while !state.isOver, ContinuousClock.now < end { try? await Task.sleep(for: .milliseconds(5)) }
        for task in care { task.cancel() }
        for task in care { await task.value }
        for watch in watches.values { await watch.end() }
        watches = [:]
        // Others see at once that this daemon is gone.
        for task in revocations.values { await task.value }
    }

    var record: DaemonRecord {
        DaemonRecord(
            name: settings.name, place: settings.place, volumes: state.volumes.keys.sorted(),
            preferences: readiness.isEmpty ? nil : readiness, address: place)
    }

    // MARK: Events and effects

    func take(_ event: SuccessionEvent) {
        let effects = state.take(event, now: .now())
        renewTerm()
        for effect in effects { perform(effect) }
        for (volume, handOver) in handOvers {
            switch state.volumes[volume]?.state {
            case .leaving, .givingUp: continue
            default:
                handOvers[volume] = nil
                handOver.answer.resume(
                    returning: .failure(
                        TercetError(
                            .failed,
                            "it was not handed over: this daemon's lease ended meanwhile, or it was told to end; another daemon that "
                                + "stands by takes it")))
            }
        }
    }

    /// Volumes are served for as long as the lease lasts. A term that has ended is never extended.
    private func renewTerm() {
        guard let lease = state.lease else {
            term = nil
            return
        }
        if let term, term.lease == lease.number { return term.end.extend(to: lease.end) }
        term = (lease.number, ServingTerm(end: lease.end))
    }

    private func perform(_ effect: SuccessionEffect) {
        switch effect {
        case .grant: Task { await self.grant() }
        case .renew(let lease): Task { await self.renew(lease) }
        case .revoke(let lease):
            if let own = leases.removeValue(forKey: lease) { revoke(own) } else { revoke(ofAnother: lease) }
        case .claim(let volume, let lease): step(volume) { await self.claim(volume, lease) }
        case .attach(let volume, let fencing):
            // Without a lease the attach is in vain.
            let term = term?.end ?? ServingTerm(end: .now())
            step(volume) {
                await self.askForReservation(volume)
                let isAttached = await self.attach(volume, fencing, during: term)
                await self.take(.volume(volume, isAttached ? .attached : .attachFailed))
            }
        case .serve(let volume):
            guard let term else { break }
            step(volume) { await self.serve(volume, term.end) }
        case .hide(let volume, let departure):
            note(volume, .warning, "not served any more: \(words(departure))")
            step(volume) { await self.daemon.hideOwned(volume) }
        case .detach(let volume):
            step(volume) {
                await self.daemon.detachOwned(volume, isPassed: self.isPassed(volume))
                await self.take(.volume(volume, .detached))
            }
        case .pass(let volume, let claim, let successor): step(volume) { await self.pass(volume, claim, successor) }
        case .release(let volume, let claim):
            step(volume) {
                await self.giveUp(volume, to: nil) { () async throws(RegistryError) in
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

    func note(_ volume: String, _ level: Logger.Level, _ text: String) {
        journal.write(level, "volume \(text)", ["volume": "\(volume)", "daemon": "\(settings.name)"])
        Task { await self.daemon.noteOwned(volume, text) }
    }

    // MARK: The registry

    private func claim(_ volume: String, _ lease: LeaseNumber) async {
        guard let held = leases[lease] else { return take(.volume(volume, .claimFailed)) }
        await beginChange()
        defer { endChange() }
        do throws(RegistryError) {
            let claim = try await registry.claim(volume, for: settings.name, held)
            take(.volume(volume, .claimed(ClaimNumber(claim.number), lease)))
        } catch {
            if case .conflict = error.code {} else { tell(error, .leases) }
            take(.volume(volume, .claimFailed))
        }
    }

    /// Waits for the turn to change an owner.
    private func beginChange() async {
        while changes >= Self.mostChanges { await withCheckedContinuation { changesToCome.append($0) } }
        changes += 1
    }

    private func endChange() {
        changes -= 1
        if !changesToCome.isEmpty { changesToCome.removeFirst().resume() }
    }

    private func serve(_ volume: String, _ term: ServingTerm) async {
        guard await takeOnReservation(volume) else { return take(.volume(volume, .stalled)) }
        let isShown = await daemon.showOwned(volume, during: term) { [weak self] in
            Task { [weak self] in await self?.lost(volume) }
        }
        guard isShown else { return take(.volume(volume, .stalled)) }
        note(volume, .notice, "served: this daemon owns it")
    }

    /// Leaves volumes to other daemons that cannot be used here, and perhaps there.
    private func lookForStalls() async {
        let stalled = await daemon.stalledVolumes()
        stalls = stalls.filter { stalled.contains($0.key) }
        for volume in stalled where state.volumes[volume]?.isServing == true && !standbys(volume).isEmpty {
            let since = stalls[volume, default: .now]
            stalls[volume] = since
            guard ContinuousClock.now - since >= .seconds(Self.stallSeconds) else { continue }
            stalls[volume] = nil
            take(.volume(volume, .stalled))
        }
    }

    private func lost(_ volume: String) { take(.volume(volume, .deposed)) }

    private func pass(_ volume: String, _ claim: ClaimNumber, _ successor: String) async {
        await giveUp(volume, to: successor) { () async throws(RegistryError) in
            guard let other = await self.daemonNamed(successor) else {
                throw RegistryError(.leaseLost, "daemon \(successor): is not there any more")
            }
            return try await self.registry.pass(volume, claim: Revision(claim.number), to: other)
        }
    }

    private func daemonNamed(_ name: String) -> PresentDaemon? { listing.daemons.first { $0.record.name == name } }

    private func giveUp(
        _ volume: String, to successor: String?, _ body: @Sendable () async throws(RegistryError) -> Revision
    ) async {
        await beginChange()
        defer { endChange() }
        do throws(RegistryError) {
            let moment = try await body()
            if successor != nil, let handOver = handOvers.removeValue(forKey: volume) {
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
        let asked = MonotonicTime.now()
        do throws(RegistryError) {
            let seen = try await registry.owners()
            listing = seen
            answered(.looks)
            for volume in state.volumes.keys { sight(volume, seen.owners[volume]?.name) }
            let preferences = await preferences(seen)
            await watchPeers(seen)
            take(
                .seen(
                    OwnersView(
                        moment: ClaimNumber(seen.revision.number),
                        owners: seen.owners.mapValues {
                            SeenOwner(
                                name: $0.name, lease: LeaseNumber($0.lease), claim: ClaimNumber($0.revision.number))
                        }, asked: asked, preferences: preferences)))
            // It has a volume more, or its word has been lost.
            if let lease = state.lease, let held = leases[lease.number],
                !seen.daemons.contains(PresentDaemon(record, lease: held.id))
            {
                try await registry.announce(record, held)
            }
        } catch {
            tell(error, .looks)
        }
    }

    /// Tells a problem of the registry once, until calls of that kind are answered again: one that is locked can be looked at.
    func tell(_ error: RegistryError, _ kind: RegistryCalls) {
        guard registryProblems[kind] != error.message else { return }
        // An outage has many words, and one line is enough.
        if registryProblems[kind] == nil || error.code != .unavailable {
            journal.write(.warning, "registry: \(error.message)", ["daemon": "\(settings.name)"])
        }
        registryProblems[kind] = error.message
    }

    func answered(_ kind: RegistryCalls) {
        guard registryProblems.removeValue(forKey: kind) != nil else { return }
        journal.write(.notice, "registry answers again", ["daemon": "\(settings.name)"])
    }
}
