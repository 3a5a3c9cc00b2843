import Base

/// A daemon's part in the succession of its volumes, as values: events in, effects out.
///
/// It has one lease for all volumes. Its time is counted from the moment before the call that began or renewed it, by a clock that only
/// goes forward, and ends earlier than that of the registry: so a daemon that was stopped, or cut off, hides its volumes before
/// anything else.
public struct DaemonSuccession: Equatable, Sendable {
    private enum Term: Equatable {
        case none(asksAt: MonotonicTime)
        case asking
        case held(LeaseNumber, end: MonotonicTime, renewsAt: MonotonicTime, isRenewing: Bool)
    }

    public private(set) var volumes: [String: VolumeSuccession] = [:]
    private var term = Term.none(asksAt: MonotonicTime(nanoseconds: 0))
    /// Leases whose time has ended here, and perhaps not in the registry.
    private var former: [LeaseNumber] = []
    /// It was told to stop.
    public private(set) var isStopping = false

    /// Between two calls for a lease that the registry did not answer, in milliseconds.
    private static let retryMilliseconds: UInt64 = 250

    private let prefers: Set<String>
    private let times: FailBackTimes
    private let defect: SuccessionDefect

    /// - Parameter prefers: the volumes that this daemon does not give back to others that prefer them too.
    public init(prefers: Set<String> = [], _ times: FailBackTimes = FailBackTimes()) {
        self.init(prefers: prefers, times, breaking: .none)
    }

    /// One that may break a rule on purpose, for the simulation.
    package init(prefers: Set<String>, _ times: FailBackTimes, breaking defect: SuccessionDefect) {
        self.prefers = prefers
        self.times = times
        self.defect = defect
    }

    /// The lease, and the moment at which this daemon takes it for ended.
    public var lease: (number: LeaseNumber, end: MonotonicTime)? {
        if case .held(let number, let end, _, _) = term { (number, end) } else { nil }
    }

    /// It was told to stop, and owns nothing any more.
    public var isOver: Bool {
        isStopping && volumes.values.allSatisfy { $0.state == .ended } && lease == nil && term != .asking
    }

    /// The moment at which it wants to hear of the time, if nothing else happens.
    public var nextLook: MonotonicTime {
        switch term {
        case .none(let asksAt): asksAt
        case .asking: .distantFuture
        case .held(_, let end, let renewsAt, let isRenewing): isRenewing ? end : min(end, renewsAt)
        }
    }

    public mutating func take(_ event: SuccessionEvent, now: MonotonicTime) -> [SuccessionEffect] {
        // A lease that has ended is ended before anything else is looked at.
        var effects = expire(now)
        switch event {
        case .time: break
        case .granted(let lease, let seconds, let asked): effects += granted(lease, seconds, asked, now)
        case .grantFailed:
            if term == .asking { term = .none(asksAt: now.advanced(byMilliseconds: Self.retryMilliseconds)) }
        case .renewed(let lease, let seconds, let asked):
            guard lease == self.lease?.number else { break }
            hold(lease, seconds, asked)
            effects += expire(now)
        case .renewalFailed(let lease):
            guard case .held(lease, let end, _, _) = term else { break }
            let again = now.advanced(byMilliseconds: Self.retryMilliseconds)
            term = .held(lease, end: end, renewsAt: again, isRenewing: false)
        case .leaseLost(let lease):
            if lease == self.lease?.number { effects += endTerm(now, isKnown: true) }
        case .seen(let view):
            for name in names {
                let preferences = view.preferences[name] ?? []
                effects += change(name) { $0.seen(view.owners[name], view, preferences, now: now) }
            }
        // Nobody renews its lease: it need not be waited for.
        case .peerGone(let lease) where lease != self.lease?.number: effects.append(.revoke(lease))
        case .peerGone: break
        case .ready(let name):
            guard volumes[name] == nil, !isStopping else { break }
            volumes[name] = VolumeSuccession(
                lease: lease?.number,
                FailBackJudge(
                    times, isPreferredHere: prefers.contains(name), ignoresPaths: defect == .failBackWithoutPath),
                breaking: defect)
        case .volume(let name, let event): effects += change(name) { $0.take(event, now: now) }
        case .stop:
            isStopping = true
            for name in names { effects += change(name) { $0.stop() } }
        }
        return effects + settle(now)
    }

    /// In an order that does not differ from run to run.
    private var names: [String] { volumes.keys.sorted() }

    private mutating func change(
        _ name: String, _ body: (inout VolumeSuccession) -> [VolumeSuccession.Effect]
    ) -> [SuccessionEffect] {
        guard var volume = volumes[name] else { return [] }
        let effects = body(&volume)
        volumes[name] = volume
        return effects.map { effect in
            switch effect {
            case .claim(let lease): .claim(name, lease)
            case .attach(let fencing): .attach(name, fencing)
            case .serve: .serve(name)
            case .detach: .detach(name)
            case .hide(let departure): .hide(name, departure)
            case .pass(let claim, let successor): .pass(name, claim, to: successor)
            case .release(let claim): .release(name, claim)
            }
        }
    }

    // MARK: The lease

    private mutating func granted(
        _ lease: LeaseNumber, _ seconds: Int64, _ asked: MonotonicTime, _ now: MonotonicTime
    ) -> [SuccessionEffect] {
        guard term == .asking else { return [.revoke(lease)] }
        hold(lease, seconds, asked)
        for name in names { volumes[name]?.leaseBegan(lease) }
        return expire(now)
    }

    /// The end is a tenth before that of the registry, so that clocks may differ by as much.
    private mutating func hold(_ lease: LeaseNumber, _ seconds: Int64, _ asked: MonotonicTime) {
        let milliseconds = UInt64(max(0, min(seconds, 86_400))) * 1000
        term = .held(
            lease, end: asked.advanced(byMilliseconds: milliseconds - milliseconds / 10),
            renewsAt: asked.advanced(byMilliseconds: milliseconds / 3), isRenewing: false)
    }

    private mutating func expire(_ now: MonotonicTime) -> [SuccessionEffect] {
        guard let lease, now >= lease.end else { return [] }
        return endTerm(now, isKnown: false)
    }

    /// - Parameter isKnown: the registry has said so.
    private mutating func endTerm(_ now: MonotonicTime, isKnown: Bool) -> [SuccessionEffect] {
        if let lease, !isKnown { former.append(lease.number) }
        term = .none(asksAt: now)
        var effects: [SuccessionEffect] = []
        for name in names { effects += change(name) { $0.leaseEnded() } }
        return effects
    }

    /// Asks for what is due.
    private mutating func settle(_ now: MonotonicTime) -> [SuccessionEffect] {
        var effects: [SuccessionEffect] = []
        // A former lease is given back, for others, once nothing is attached here.
        if !former.isEmpty, !volumes.values.contains(where: \.mayBeAttached) {
            effects += former.map { .revoke($0) }
            former = []
        }
        switch term {
        case .none(let asksAt):
            guard !isStopping, now >= asksAt else { break }
            term = .asking
            effects.append(.grant)
        case .asking: break
        case .held(let lease, let end, let renewsAt, let isRenewing):
            if isStopping, volumes.values.allSatisfy({ $0.state == .ended }) {
                term = .none(asksAt: .distantFuture)
                effects.append(.revoke(lease))
            } else if !isRenewing, now >= renewsAt {
                term = .held(lease, end: end, renewsAt: renewsAt, isRenewing: true)
                effects.append(.renew(lease))
            }
        }
        return effects
    }
}
