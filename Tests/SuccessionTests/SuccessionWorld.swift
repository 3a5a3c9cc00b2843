import Base
import Succession

/// Several daemons, a registry and the members of one volume, in virtual time: calls take time, are lost, and are overtaken; daemons stand
/// still and wake up. It notes what breaks a law, a line each.
struct SuccessionWorld {
    private struct Daemon {
        var succession = DaemonSuccession()
        /// It takes no events before this moment.
        var sleepsUntil = MonotonicTime(nanoseconds: 0)
        /// Hosts are told to come here.
        var isShown = false
        var isAttached = false
        /// The number of its last attachment.
        var attachment = 0
        /// Steps of the volume that are under way, or wait.
        var stepsEnd = MonotonicTime(nanoseconds: 0)
    }

    private struct Message {
        var time: MonotonicTime
        var order: Int
        var daemon: Int
        var event: SuccessionEvent
        /// The attachment that it is about; `nil` for none.
        var attachment: Int?
    }

    /// The registry: leases with their ends, and the owner.
    private var leases: [LeaseNumber: MonotonicTime] = [:]
    private var owner: SeenOwner?
    private var moment = ClaimNumber(0)
    private var lastLease: Int64 = 0
    private var isReachable = true
    /// The daemon that has the volume attached, and was not fenced since.
    private var holder: Int?

    private var daemons: [Daemon]
    private var messages: [Message] = []
    private var order = 0
    private(set) var now = MonotonicTime(nanoseconds: 1_000_000_000)
    private var random: SeededRandom
    var hasFaults = true
    private(set) var violations: [String] = []
    private(set) var owners = 0

    init(daemons count: Int, seed: UInt64) {
        daemons = Array(repeating: Daemon(), count: count)
        random = SeededRandom(seed: seed)
        for daemon in daemons.indices { deliver(.ready("db"), to: daemon) }
    }

    /// Daemons that hosts are told to come to, and that could attach last.
    var shown: [Int] { daemons.indices.filter { daemons[$0].isShown } }

    private mutating func chance(_ percent: UInt64) -> Bool { hasFaults && random.next() % 100 < percent }

    private mutating func send(
        _ event: SuccessionEvent, to daemon: Int, at time: MonotonicTime, attachment: Int? = nil
    ) {
        order += 1
        messages.append(Message(time: time, order: order, daemon: daemon, event: event, attachment: attachment))
    }

    /// A moment up to so many milliseconds from now.
    private mutating func soon(_ milliseconds: UInt64) -> MonotonicTime {
        now.advanced(byNanoseconds: random.next() % (milliseconds * 1_000_000))
    }

    // MARK: Time

    /// Lets so much time pass.
    mutating func run(seconds: Int) {
        for _ in 0..<seconds * 100 { step() }
    }

    private mutating func step() {
        now = now.advanced(byMilliseconds: 10)
        if chance(1) { isReachable = false }
        if !isReachable, !hasFaults || random.next() % 100 < 2 { isReachable = true }
        // It is restored from a copy.
        if chance(1), random.next() % 10 == 0 {
            (leases, owner) = ([:], nil)
            moment.number /= 2
        }
        leases = leases.filter { $0.value > now }
        if let present = owner, leases[present.lease] == nil { owner = nil }
        for daemon in daemons.indices {
            if chance(1), random.next() % 4 == 0 {
                daemons[daemon].sleepsUntil = now.advanced(byMilliseconds: random.next() % 6000)
            }
            if chance(1), daemons[daemon].succession.volumes["db"]?.canHandOver == true {
                let successor = Int(random.next() % UInt64(daemons.count))
                deliver(.volume("db", .handOver(to: "\(successor)")), to: daemon)
            }
            if chance(1), random.next() % 4 == 0, daemons[daemon].isShown {
                deliver(.volume("db", .stalled), to: daemon)
            }
            deliver(.time, to: daemon)
            if isReachable {
                let view = OwnersView(moment: moment, owners: owner.map { ["db": $0] } ?? [:], asked: now)
                send(.seen(view), to: daemon, at: soon(400))
            }
        }
        let due = messages.filter { $0.time <= now }.sorted { ($0.time, $0.order) < ($1.time, $1.order) }
        messages.removeAll { $0.time <= now }
        for message in due {
            if let attachment = message.attachment, daemons[message.daemon].attachment != attachment { continue }
            deliver(message.event, to: message.daemon)
        }
        // Those that are awake have looked at the time.
        let awake = shown.filter { daemons[$0].sleepsUntil <= now }
        if awake.count > 1 { violations.append("daemons \(awake) are shown to hosts at once") }
    }

    private mutating func deliver(_ event: SuccessionEvent, to daemon: Int) {
        guard daemons[daemon].sleepsUntil <= now else {
            // The passing of time is no message.
            if event != .time { send(event, to: daemon, at: daemons[daemon].sleepsUntil) }
            return
        }
        let effects = daemons[daemon].succession.take(event, now: now)
        check(effects, event, daemon)
        for effect in effects { perform(effect, daemon) }
        if daemons[daemon].isShown, daemons[daemon].succession.lease.map({ $0.end <= now }) != false {
            violations.append("daemon \(daemon) is shown to hosts without a lease, after \(event)")
        }
    }

    // MARK: Laws

    private mutating func check(_ effects: [SuccessionEffect], _ event: SuccessionEvent, _ daemon: Int) {
        for (place, effect) in effects.enumerated() {
            switch effect {
            case .serve where event != .volume("db", .attached) || !daemons[daemon].isAttached:
                violations.append("daemon \(daemon) serves what it has not attached, after \(event)")
            case .claim:
                guard case .seen(let view) = event, view.owners["db"] == nil else {
                    violations.append("daemon \(daemon) claims what is another's, after \(event)")
                    continue
                }
            case .hide where place > 0: violations.append("daemon \(daemon) does \(effects) in this order")
            case .detach where daemons[daemon].isShown && !effects.prefix(place).contains(where: \.isHide):
                violations.append("daemon \(daemon) detaches what it shows")
            case .pass where daemons[daemon].isAttached, .release where daemons[daemon].isAttached:
                violations.append("daemon \(daemon) gives up what it has attached")
            default: break
            }
        }
    }

    // MARK: Effects

    private mutating func perform(_ effect: SuccessionEffect, _ daemon: Int) {
        switch effect {
        case .grant:
            guard reaches() else { return send(.grantFailed, to: daemon, at: soon(1500)) }
            lastLease += 1
            let lease = LeaseNumber(lastLease)
            leases[lease] = now.advanced(byMilliseconds: 2000)
            send(.granted(lease, seconds: 2, asked: now), to: daemon, at: soon(300))
        case .renew(let lease):
            guard reaches() else { return send(.renewalFailed(lease), to: daemon, at: soon(700)) }
            guard leases[lease] != nil else { return send(.leaseLost(lease), to: daemon, at: soon(300)) }
            leases[lease] = now.advanced(byMilliseconds: 2000)
            send(.renewed(lease, seconds: 2, asked: now), to: daemon, at: soon(300))
        case .revoke(let lease): if reaches() { leases[lease] = nil }
        case .hide: daemons[daemon].isShown = false
        case .serve:
            daemons[daemon].isShown = true
            owners += 1
        case .claim(_, let lease): answer(.volume("db", claim(lease, daemon)), daemon, 300)
        case .attach(_, let fencing): attach(fencing, daemon)
        case .detach:
            daemons[daemon].isAttached = false
            if holder == daemon { holder = nil }
            answer(.volume("db", .detached), daemon, 500)
        case .pass(_, let claim, let successor): answer(.volume("db", pass(claim, Int(successor) ?? 0)), daemon, 300)
        case .release(_, let claim): answer(.volume("db", release(claim)), daemon, 300)
        }
    }

    private mutating func attach(_ fencing: VolumeSuccession.Fencing, _ daemon: Int) {
        guard !chance(10), fencing == .fences || holder == nil else {
            return answer(.volume("db", .attachFailed), daemon, 500)
        }
        // The fence: nobody else has it from here on.
        if let holder, holder != daemon {
            send(.volume("db", .deposed), to: holder, at: soon(300), attachment: daemons[holder].attachment)
        }
        holder = daemon
        daemons[daemon].isAttached = true
        daemons[daemon].attachment += 1
        answer(.volume("db", .attached), daemon, 500)
    }

    /// Steps of a volume end one after another.
    private mutating func answer(_ event: SuccessionEvent, _ daemon: Int, _ milliseconds: UInt64) {
        let end = max(soon(milliseconds), daemons[daemon].stepsEnd)
        daemons[daemon].stepsEnd = end
        send(event, to: daemon, at: end)
    }

    private mutating func reaches() -> Bool { isReachable && !chance(5) }

    private mutating func next() -> ClaimNumber {
        moment.number += 1
        return moment
    }

    private mutating func claim(_ lease: LeaseNumber, _ daemon: Int) -> VolumeSuccession.Event {
        guard reaches(), leases[lease] != nil, owner == nil else { return .claimFailed }
        let claim = next()
        owner = SeenOwner(name: "\(daemon)", lease: lease, claim: claim)
        // The answer may be lost.
        return chance(5) ? .claimFailed : .claimed(claim, lease)
    }

    private mutating func pass(_ claim: ClaimNumber, _ successor: Int) -> VolumeSuccession.Event {
        guard reaches(), owner?.claim == claim, let lease = daemons[successor].succession.lease?.number,
            leases[lease] != nil
        else { return .givingUpFailed }
        let passed = next()
        owner = SeenOwner(name: "\(successor)", lease: lease, claim: passed)
        return chance(5) ? .givingUpFailed : .gaveUp(passed)
    }

    private mutating func release(_ claim: ClaimNumber) -> VolumeSuccession.Event {
        guard reaches(), owner?.claim == claim else { return .givingUpFailed }
        owner = nil
        let moment = next()
        return chance(5) ? .givingUpFailed : .gaveUp(moment)
    }
}

extension SuccessionEffect {
    fileprivate var isHide: Bool { if case .hide = self { true } else { false } }
}
