import Base
import BlockInterface
import NVMeSpec
import Replication
import Simulation
import Succession
import TargetInterface
import VolumeDriver
import VolumeRegistry

/// One of several daemons that offer a volume: the state machine of `tercet-volumed`'s succession with the real target and the real
/// volume, and with a registry that it calls over a network.
final class SuccessionDaemon: @unchecked Sendable {
    // Unchecked: one thread drives a simulation.
    let place: Int
    unowned let world: SuccessionWorld
    var clock = MachineClock()
    var succession: DaemonSuccession
    private(set) var served: OwnerTarget?
    var owned: OwnedVolume?
    /// Raised with each start: what a former run has asked for is nobody's any more.
    private(set) var run: UInt64 = 0
    private(set) var isPaused = false
    /// Since when its clock has stood still.
    private var suspendedAt: MonotonicTime?
    /// Since when, by its clock, its lease or that clock do not tell the truth: what it reads may be old, and writes are fenced all the same.
    private var untimelySince: MonotonicTime?
    /// The last moment at which that was so.
    private var untimelyUntil = MonotonicTime(nanoseconds: 0)
    /// Hosts are told to come here, as far as the volume can be used.
    var isShown = false
    /// The volume's steps, one after another: each is asked until it is done.
    private var steps: [() -> Bool] = []
    /// Messages that came while it stood still.
    var inbox: [() -> Void] = []
    var term: (lease: LeaseNumber, end: ServingTerm)?
    var leases: [LeaseNumber: Lease] = [:]
    var looksAt = MonotonicTime(nanoseconds: 0)
    var isLooking = false
    /// It prefers the volume, and could serve it, as others are told; and when it looks for that next.
    var readiness: VolumePreference?
    var usesSeen: UInt64 = 0
    var readinessAt = MonotonicTime(nanoseconds: 0)
    var listing = OwnersListing(revision: Revision(0))
    /// The newest claim that it has given up, or was asked to.
    private(set) var givenUp: ClaimNumber?
    /// Since when the volume that it serves cannot be used.
    private var stalledSince: MonotonicTime?
    private var isTouched = true
    private(set) var deadline = MonotonicTime(nanoseconds: 0)

    static let volume = "db"
    static let leaseSeconds: Int64 = 1
    /// Times of `Successor`, in milliseconds; those that go by the lease are in proportion to it.
    static let lookMilliseconds: UInt64 = 50
    static let readinessMilliseconds: UInt64 = 100
    static let callMilliseconds: UInt64 = 250
    private static let stallMilliseconds: UInt64 = 500
    static let attachMilliseconds: UInt64 = 1500
    static let quietMilliseconds: UInt64 = 300
    static let detachMilliseconds: UInt64 = 600

    init(_ place: Int, world: SuccessionWorld) {
        self.place = place
        self.world = world
        clock.drift = world.profile.daemonDrift[place]
        succession = Self.succession(place, world.profile)
    }

    /// The state machine, with times that are in proportion to the lease.
    private static func succession(_ place: Int, _ profile: Profile) -> DaemonSuccession {
        var times = FailBackTimes()
        (times.settle, times.quiet, times.stay, times.longestStay) = (300, 30, 600, 60_000)
        return DaemonSuccession(
            prefers: profile.preferredDaemon == place ? [volume] : [], times, breaking: profile.successionDefect)
    }

    var name: String { "d\(place)" }
    var node: Int { SuccessionLinks.daemonNode(place) }
    var isAlive: Bool { served != nil }
    var isRunning: Bool { isAlive && !isPaused }
    var now: MonotonicTime { clock.local(world.network.now) }
    /// The state of the volume in the succession.
    private(set) var state: VolumeSuccession.State?
    var isServing: Bool { if case .serving = state { true } else { false } }
    var canHandOver: Bool { succession.volumes[Self.volume]?.canHandOver == true }

    // MARK: Life

    /// It was told to stop, and is started again.
    func startAnew() {
        die(isSilent: false)
        start()
    }

    /// It was told to stop.
    var isStopping: Bool { succession.isStopping }

    func start() {
        guard !isAlive else { return }
        run += 1
        becomeTimely()
        succession = Self.succession(place, world.profile)
        served = OwnerTarget(
            place: place, node: node, run: run, network: world.network, record: world.record,
            reservations: SuccessionReservations(self), now: now)
        looksAt = now
        touch()
        take(.ready(Self.volume))
    }

    /// The process dies.
    ///
    /// - Parameter isSilent: nobody is told: its machine is gone.
    func die(isSilent: Bool) {
        guard let served else { return }
        world.trace { "\(self.name) dies\(isSilent ? " silently" : "")" }
        if !isSilent { world.processEnds(self, succession.lease?.number) }
        served.endConnections(isSilent: isSilent)
        // Requests at the volume end before the process's memory goes.
        letGo(isSilent: isSilent)
        served.close()
        self.served = nil
        run += 1
        (isPaused, isShown, isLooking, stallsAfterPoll) = (false, false, false, false)
        (steps, inbox, leases, term) = ([], [], [:], nil)
        listing = OwnersListing(revision: Revision(0))
        (stalledSince, givenUp, readiness) = (nil, nil, nil)
    }

    func letGo(isSilent: Bool = false) {
        guard let owned else { return }
        world.attachmentEnds(owned)
        if !owned.close(world.network.now, isSilent: isSilent) {
            world.fail(.leftBehind, "\(name): attachment \(owned.number) does not come to its end")
        }
        self.owned = nil
    }

    /// It stops, and goes on later.
    ///
    /// - Parameter isSuspended: its machine does too, with its clock.
    func pause(isSuspended: Bool = false) {
        guard isRunning else { return }
        isPaused = true
        if isSuspended { suspendedAt = world.network.now }
    }

    /// It stops after the next round in which it does something: what it has decided then leaves when it goes on.
    var stallsAfterPoll = false {
        didSet {
            guard stallsAfterPoll else { return }
            served?.device.holdsPosts = true
            owned?.device.holdsPosts = true
        }
    }

    func goOn() {
        if let began = suspendedAt {
            suspendedAt = nil
            clock.ahead -= Int64(world.network.now.nanoseconds(since: began))
            becomeUntimely()
        }
        stallsAfterPoll = false
        served?.device.releasePosts()
        owned?.device.releasePosts()
        isPaused = false
        let letters = inbox
        inbox = []
        for letter in letters { letter() }
        touch()
    }

    /// Its lease or its clock do not tell the truth, until it has heard of its lease again.
    func becomeUntimely() { untimelySince = now }

    private func becomeTimely() {
        guard untimelySince != nil else { return }
        (untimelySince, untimelyUntil) = (nil, world.network.now)
    }

    func wasUntimely(since time: MonotonicTime) -> Bool { untimelySince != nil || untimelyUntil >= time }

    /// It is to be polled.
    func touch() {
        isTouched = true
        world.network.tellNews()
    }

    // MARK: Polls

    /// Polls where there may be something to do; `true` where there may be more at once.
    func pollIfDue(_ now: MonotonicTime) -> Bool {
        guard isRunning, let served else { return false }
        let isAwake = isTouched || deadline <= now
        isTouched = false
        var isBusy = owned?.pollIfDue(now, clock) ?? false
        if served.pollIfDue(now, clock, isTouched: isBusy || isAwake) {
            isBusy = true
            owned?.touch()
        }
        guard isAwake || isBusy else { return false }
        runSteps()
        let local = clock.local(now)
        if local >= succession.nextLook { take(.time) }
        if local >= looksAt { look() }
        if prefers, local >= readinessAt { lookForReadiness() }
        showState()
        lookForStall(local)
        isTouched = isTouched || isBusy
        deadline = min(served.deadline, owned?.deadline ?? .distantFuture)
        // As often as the daemon looks at the time.
        let mine = max(
            min(succession.nextLook, looksAt, prefers ? readinessAt : .distantFuture), local.advanced(byMilliseconds: 1)
        )
        deadline = min(deadline, clock.world(steps.isEmpty ? mine : local.advanced(byMilliseconds: 1)))
        if stallsAfterPoll, isTouched {
            stallsAfterPoll = false
            isPaused = true
            return false
        }
        return isTouched
    }

    private func runSteps() {
        while let step = steps.first, step() {
            steps.removeFirst()
            isTouched = true
        }
    }

    /// Tells hosts of what use the volume is now.
    private func showState() {
        guard let served else { return }
        let isUsable = owned?.blockDevice.map { $0.availability == .serving } ?? true
        served.setAccess(isShown && isUsable ? .optimized : .inaccessible)
        if served.access == .optimized, owned?.blockDevice == nil {
            world.fail(.shownUnattached, "\(name) tells hosts to come, and has not attached the volume")
        }
        if isServing, let owned, owned.blockDevice?.availability == .fenced {
            take(.volume(Self.volume, .deposed))
        }
    }

    private func lookForStall(_ now: MonotonicTime) {
        guard isServing, owned?.blockDevice?.availability == .unavailable, !standbys.isEmpty else {
            stalledSince = nil
            return
        }
        let since = stalledSince ?? now
        stalledSince = since
        guard now.nanoseconds(since: since) >= Self.stallMilliseconds * 1_000_000 else { return }
        stalledSince = nil
        take(.volume(Self.volume, .stalled))
    }

    var standbys: [String] { listing.daemons.map(\.record.name).filter { $0 != name } }

    // MARK: Events and effects

    func take(_ event: SuccessionEvent) {
        if case .volume(_, .gaveUp(let moment)) = event { givenUp = moment }
        switch event {
        case .granted(_, _, let asked), .renewed(_, _, let asked):
            if let untimelySince, asked >= untimelySince { becomeTimely() }
        default: break
        }
        let effects = succession.take(event, now: now)
        state = succession.volumes[Self.volume]?.state
        world.note(self, event, effects)
        renewTerm()
        for effect in effects { perform(effect) }
        if !effects.isEmpty { touch() }
    }

    /// Takes an event that comes from outside: later, where it stands still.
    func hear(_ event: SuccessionEvent) {
        guard isAlive else { return }
        if isPaused { inbox.append { [unowned self] in take(event) } } else { take(event) }
    }

    private func renewTerm() {
        guard let lease = succession.lease else {
            term = nil
            return
        }
        if let term, term.lease == lease.number { return term.end.extend(to: lease.end) }
        term = (lease.number, ServingTerm(end: lease.end) { [unowned self] in now })
    }

    private func perform(_ effect: SuccessionEffect) {
        switch effect {
        case .grant: grant()
        case .renew(let lease): renew(lease)
        case .revoke(let lease):
            let held = leases.removeValue(forKey: lease) ?? Lease(id: lease.number, seconds: 0)
            call { registry throws(RegistryError) in
                try registry.revoke(held)
            } answer: { _ in
            }
        case .claim(_, let lease): steps.append(claim(lease))
        case .attach(_, let fencing): steps.append(attach(fencing))
        case .serve: steps.append(serve())
        case .hide:
            steps.append { [unowned self] in
                isShown = false
                return true
            }
            // Before anything else, wherever the steps are.
            isShown = false
        case .detach: steps.append(detach())
        case .pass(_, let claim, let successor): steps.append(pass(claim, successor))
        case .release(_, let claim):
            steps.append(
                giveUp { registry throws(RegistryError) in
                    try registry.release(Self.volume, claim: Revision(claim.number))
                })
        }
    }
}
