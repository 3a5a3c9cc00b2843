import Base

/// One daemon's part in the succession of one volume, as values: events in, effects out. It knows no registry, no clock and no volume.
///
/// A claim lets a daemon begin; the attach, which fences whoever had the volume, makes it the one that serves. A daemon that is not
/// sure of its lease hides the volume first and asks afterwards.
public struct VolumeSuccession: Equatable, Sendable {
    public enum State: Equatable, Sendable {
        /// Another daemon owns the volume, or none does.
        case standingBy
        case claiming
        case attaching(ClaimNumber, Fencing)
        /// The attach has not ended, and the volume will be detached when it has.
        case attachingInVain(ClaimNumber?, Departure)
        case serving(ClaimNumber)
        /// Hidden from hosts, and being detached. The claim is there as long as it may be given to others.
        case leaving(ClaimNumber?, Departure)
        /// Detached; the claim is being passed or given back.
        case givingUp
        /// A host outside of the succession has taken the volume, or a daemon whose attach ended late. The claim is kept, so that no daemon
        /// fences that host unasked; once it has detached the volume is attached again.
        case deposed(ClaimNumber)
        /// The daemon ends.
        case ended
    }

    /// The fate of a host that has the volume attached.
    public enum Fencing: Equatable, Sendable {
        /// It is fenced: the claim is this daemon's.
        case fences
        /// The attach fails.
        case yields
    }

    public enum Event: Equatable, Sendable {
        case claimed(ClaimNumber, LeaseNumber)
        case claimFailed
        case attached
        case attachFailed
        /// The volume was taken over by another host.
        case deposed
        /// The volume could not be served for a while.
        case stalled
        case detached
        case handOver(to: String)
        /// Hosts have used the volume since the last such event.
        case used
        /// - Parameter moment: the revision at which the claim was another's, or nobody's.
        case gaveUp(ClaimNumber)
        case givingUpFailed
    }

    /// An effect, of this volume.
    enum Effect: Equatable {
        case claim(LeaseNumber)
        case attach(Fencing)
        case serve, detach
        case hide(Departure)
        case pass(ClaimNumber, to: String)
        case release(ClaimNumber)
    }

    public private(set) var state = State.standingBy
    /// The daemon's lease.
    private var lease: LeaseNumber?
    /// Views of the registry before this moment are out of date; and when it was heard of.
    private var newest = ClaimNumber(0)
    private var newestHeard = MonotonicTime(nanoseconds: 0)
    /// After a failed attach, and while another host has the volume, it is left alone.
    private var restsUntil = MonotonicTime(nanoseconds: 0)
    private var isStopping = false

    /// The time for which a daemon leaves a volume to others when it could not attach it, in milliseconds.
    public static let restMilliseconds: UInt64 = 5000
    /// The time between two looks whether a host that has taken the volume still has it, in milliseconds.
    private static let deposedMilliseconds: UInt64 = 1000

    private var failBack: FailBackJudge
    private let defect: SuccessionDefect

    init(lease: LeaseNumber?, _ failBack: FailBackJudge, breaking defect: SuccessionDefect) {
        self.lease = lease
        self.failBack = failBack
        self.defect = defect
    }

    /// The volume is attached, or may be.
    var mayBeAttached: Bool {
        switch state {
        case .attaching, .attachingInVain, .serving, .leaving: true
        case .standingBy, .claiming, .givingUp, .deposed, .ended: false
        }
    }

    /// It can be handed over now.
    public var canHandOver: Bool {
        switch state {
        case .serving, .deposed: true
        default: false
        }
    }

    /// Why it is being left; `nil` where it is not.
    public var departure: Departure? {
        switch state {
        case .attachingInVain(_, let departure), .leaving(_, let departure): departure
        case .standingBy, .claiming, .attaching, .serving, .givingUp, .deposed, .ended: nil
        }
    }

    // MARK: The lease

    mutating func leaseBegan(_ lease: LeaseNumber) { self.lease = lease }

    mutating func leaseEnded() -> [Effect] {
        lease = nil
        return leave(.leaseLost)
    }

    mutating func stop() -> [Effect] {
        isStopping = true
        return leave(.stopping)
    }

    /// Serves the volume no more. Hosts are told before anything else.
    private mutating func leave(_ departure: Departure) -> [Effect] {
        func kept(_ claim: ClaimNumber?) -> ClaimNumber? { departure == .stopping ? claim : nil }
        switch state {
        case .standingBy: rest()
        case .claiming, .givingUp, .ended: break
        case .attaching(let claim, _): state = .attachingInVain(kept(claim), departure)
        case .attachingInVain(let claim, let former): state = .attachingInVain(kept(claim), former)
        case .serving(let claim):
            state = .leaving(kept(claim), departure)
            return [.hide(departure), .detach]
        case .leaving(let claim, let former): state = .leaving(kept(claim), former)
        case .deposed(let claim):
            guard let claim = kept(claim) else {
                rest()
                break
            }
            state = .givingUp
            return [.release(claim)]
        }
        return []
    }

    /// Nothing is attached, claimed or under way.
    private mutating func rest() { state = isStopping ? .ended : .standingBy }

    // MARK: The registry

    mutating func seen(
        _ owner: SeenOwner?, _ view: OwnersView, _ preferences: [Preference], now: MonotonicTime
    ) -> [Effect] {
        if view.moment < newest, defect != .gapInLooksIgnored {
            // An answer that was overtaken. A registry that was asked afterwards, and knows nothing of it, was restored from a copy.
            guard view.asked > newestHeard else { return [] }
            newest = view.moment
        }
        let own = owner.flatMap { $0.lease == lease ? $0.claim : nil }
        switch state {
        case .standingBy:
            guard let lease, now >= restsUntil else { return [] }
            if let own {
                // It was passed to this daemon.
                note(own, now)
                state = .attaching(own, .fences)
                return attach
            }
            guard owner == nil else { return [] }
            state = .claiming
            return [.claim(lease)]
        case .deposed(let claim) where own != nil && now >= restsUntil:
            state = .attaching(claim, .yields)
            return [.attach(.yields)]
        case .serving(let claim) where own != nil:
            guard let successor = failBack.successor(preferences, now) else { return [] }
            state = .leaving(claim, .failBack(to: successor))
            return [.hide(.failBack(to: successor)), .detach]
        case .attaching, .attachingInVain, .serving, .leaving, .deposed:
            return own == nil ? leave(.claimLost) : []
        case .claiming, .givingUp, .ended: return []
        }
    }

    // MARK: Events

    mutating func take(_ event: Event, now: MonotonicTime) -> [Effect] {
        switch (event, state) {
        case (.claimed(let claim, let claimer), .claiming):
            note(claim, now)
            return claimed(claim, claimer)
        case (.claimFailed, .claiming): rest()
        case (.attached, .attaching(let claim, _)):
            state = .serving(claim)
            failBack.served(now)
            return [.serve]
        case (.attached, .attachingInVain(let claim, let departure)):
            state = .leaving(claim, departure)
            return [.detach]
        case (.attachFailed, .attaching(let claim, .fences)): return failed(claim, now)
        case (.attachFailed, .attaching(let claim, .yields)): standOff(claim, now)
        case (.attachFailed, .attachingInVain(let claim, _)): return failed(claim, now)
        case (.deposed, .serving(let claim)):
            state = .leaving(claim, .deposed)
            return [.hide(.deposed), .detach]
        case (.stalled, .serving(let claim)):
            state = .leaving(claim, .stalled)
            return [.hide(.stalled), .detach]
        // It leaves already, or is not attached.
        case (.deposed, _), (.stalled, _): break
        case (.detached, .leaving(let claim, let departure)): return detached(claim, departure, now)
        case (.used, _): failBack.used(now)
        case (.handOver(let successor), .serving(let claim)):
            state = .leaving(claim, .handOver(to: successor))
            return [.hide(.handOver(to: successor)), .detach]
        case (.handOver(let successor), .deposed(let claim)):
            // The operator has decided.
            restsUntil = MonotonicTime(nanoseconds: 0)
            state = .givingUp
            return [.pass(claim, to: successor)]
        // The lease has ended just now.
        case (.handOver, _): break
        case (.gaveUp(let moment), .givingUp):
            note(moment, now)
            rest()
        // The next look at the registry says whose it is.
        case (.givingUpFailed, .givingUp): rest()
        default: invariantViolated("a volume's succession takes no answer that it has not asked for")
        }
        return []
    }

    /// Notes the moment of a change that was made.
    private mutating func note(_ moment: ClaimNumber, _ now: MonotonicTime) {
        guard moment > newest else { return }
        newest = moment
        newestHeard = now
    }

    private mutating func claimed(_ claim: ClaimNumber, _ claimer: LeaseNumber) -> [Effect] {
        // A claim with a lease that has ended meanwhile is none.
        guard claimer == lease else {
            rest()
            return []
        }
        state = isStopping ? .givingUp : .attaching(claim, .fences)
        return isStopping ? [.release(claim)] : attach
    }

    private var attach: [Effect] {
        defect == .optimizedBeforeAttached ? [.serve, .attach(.fences)] : [.attach(.fences)]
    }

    private mutating func failed(_ claim: ClaimNumber?, _ now: MonotonicTime) -> [Effect] {
        restsUntil = now.advanced(byMilliseconds: Self.restMilliseconds)
        return giveBack(claim)
    }

    private mutating func giveBack(_ claim: ClaimNumber?) -> [Effect] {
        guard let claim else {
            rest()
            return []
        }
        state = .givingUp
        return [.release(claim)]
    }

    private mutating func standOff(_ claim: ClaimNumber, _ now: MonotonicTime) {
        restsUntil = now.advanced(byMilliseconds: Self.deposedMilliseconds)
        state = .deposed(claim)
    }

    private mutating func detached(_ claim: ClaimNumber?, _ departure: Departure, _ now: MonotonicTime) -> [Effect] {
        guard let claim, !isStopping else { return giveBack(claim) }
        switch departure {
        case .handOver(let successor), .failBack(let successor):
            state = .givingUp
            return [.pass(claim, to: successor)]
        case .deposed:
            standOff(claim, now)
            return []
        case .stalled: return failed(claim, now)
        case .leaseLost, .claimLost, .stopping: return giveBack(claim)
        }
    }
}
