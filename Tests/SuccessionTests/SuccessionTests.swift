import Base
import Succession
import Testing

/// One daemon with one volume, step by step. Its lease is 1 unless another is said, and lasts two seconds.
private struct Bench {
    var succession = DaemonSuccession()
    var now = MonotonicTime(nanoseconds: 1_000_000_000)
    /// The moment at which the registry is asked for what is seen.
    var asked = MonotonicTime(nanoseconds: 1_000_000_000)

    static let lease = LeaseNumber(1)

    init() {
        _ = take(.time)
        _ = take(.ready("db"))
    }

    mutating func take(_ event: SuccessionEvent) -> [SuccessionEffect] { succession.take(event, now: now) }

    mutating func volume(_ event: VolumeSuccession.Event) -> [SuccessionEffect] { take(.volume("db", event)) }

    mutating func seen(_ owner: SeenOwner?, at moment: Int64) -> [SuccessionEffect] {
        take(.seen(OwnersView(moment: ClaimNumber(moment), owners: owner.map { ["db": $0] } ?? [:], asked: asked)))
    }

    mutating func pass(_ milliseconds: UInt64) { now = now.advanced(byMilliseconds: milliseconds) }

    mutating func grant(_ lease: LeaseNumber = Bench.lease) -> [SuccessionEffect] {
        take(.granted(lease, seconds: 2, asked: now))
    }

    var state: VolumeSuccession.State? { succession.volumes["db"]?.state }

    static func own(_ claim: Int64, lease: LeaseNumber = Bench.lease) -> SeenOwner {
        SeenOwner(name: "a", lease: lease, claim: ClaimNumber(claim))
    }
    static let other = SeenOwner(name: "b", lease: LeaseNumber(9), claim: ClaimNumber(5))

    /// With a lease, and the volume claimed with number 10.
    static func attaching() -> Bench {
        var bench = Bench()
        _ = bench.grant()
        _ = bench.seen(nil, at: 3)
        _ = bench.volume(.claimed(ClaimNumber(10), lease))
        return bench
    }

    static func serving() -> Bench {
        var bench = attaching()
        _ = bench.volume(.attached)
        return bench
    }
}

@Suite("The succession of a volume")
struct SuccessionTests {
    private let claim = ClaimNumber(10)

    @Test("A daemon asks for a lease, claims what nobody owns, attaches, and only then serves")
    func beginning() {
        var bench = Bench()
        #expect(bench.seen(nil, at: 3) == [], "without a lease nothing is claimed")
        #expect(bench.grant() == [])
        #expect(bench.seen(nil, at: 3) == [.claim("db", Bench.lease)])
        #expect(bench.seen(nil, at: 3) == [], "one claim at a time")
        #expect(bench.volume(.claimed(claim, Bench.lease)) == [.attach("db", .fences)])
        #expect(bench.seen(Bench.own(10), at: 11) == [])
        #expect(bench.volume(.attached) == [.serve("db")])
        #expect(bench.state == .serving(claim))
    }

    @Test("It stands by while another owns the volume, and claims it when nobody does")
    func standingBy() {
        var bench = Bench()
        _ = bench.grant()
        #expect(bench.seen(Bench.other, at: 6) == [])
        #expect(bench.state == .standingBy)
        #expect(bench.seen(nil, at: 7) == [.claim("db", Bench.lease)])
        #expect(bench.volume(.claimFailed) == [])
        #expect(bench.state == .standingBy)
    }

    @Test("It hides the volume before anything else when its lease has ended", arguments: [1801, 2000, 900_000_000])
    func lapse(milliseconds: UInt64) {
        var bench = Bench.serving()
        bench.pass(milliseconds)
        let hidden: [SuccessionEffect] = [.hide("db", .leaseLost), .detach("db")]
        #expect(bench.take(.time).starts(with: hidden))
        #expect(bench.state == .leaving(nil, .leaseLost))
        #expect(bench.grant(LeaseNumber(2)) == [], "a new lease gives nothing back")
        #expect(bench.seen(nil, at: 20) == [])
        #expect(bench.volume(.detached) == [.revoke(Bench.lease)], "what the former lease holds is others'")
        #expect(bench.seen(nil, at: 21) == [.claim("db", LeaseNumber(2))])
    }

    @Test("Whatever it hears of after a sleep, it hides the volume first")
    func wakingUp() {
        let events: [SuccessionEvent] = [
            .time,
            .seen(
                OwnersView(
                    moment: ClaimNumber(11), owners: ["db": Bench.own(10)],
                    asked: MonotonicTime(nanoseconds: 1_000_000_000))),
            .renewed(Bench.lease, seconds: 2, asked: MonotonicTime(nanoseconds: 2_900_000_000)),
            .renewalFailed(Bench.lease), .leaseLost(Bench.lease), .volume("db", .deposed), .stop,
        ]
        for event in events {
            var bench = Bench.serving()
            bench.pass(10_000)
            #expect(bench.take(event).first == .hide("db", .leaseLost), "\(event)")
        }
    }

    @Test("A renewal counts from the moment before its call")
    func renewal() {
        var bench = Bench.serving()
        bench.pass(700)
        #expect(bench.take(.time) == [.renew(Bench.lease)])
        #expect(bench.take(.time) == [], "one renewal at a time")
        let asked = bench.now
        bench.pass(1000)
        #expect(bench.take(.renewed(Bench.lease, seconds: 2, asked: asked)) == [.renew(Bench.lease)])
        bench.pass(799)
        #expect(bench.take(.time) == [])
        bench.pass(1)
        #expect(bench.take(.time).first == .hide("db", .leaseLost))
    }

    @Test("A renewal that the registry did not answer is tried again")
    func renewalFails() {
        var bench = Bench.serving()
        bench.pass(700)
        _ = bench.take(.time)
        #expect(bench.take(.renewalFailed(Bench.lease)) == [])
        bench.pass(300)
        #expect(bench.take(.time) == [.renew(Bench.lease)])
    }

    @Test("A lease that took longer to come than it lasts is none")
    func lateGrant() {
        var bench = Bench()
        let asked = bench.now
        bench.pass(3000)
        #expect(bench.take(.granted(Bench.lease, seconds: 2, asked: asked)) == [.revoke(Bench.lease), .grant])
        #expect(bench.succession.lease == nil)
    }

    @Test("It serves no more when the registry names another owner, or none")
    func claimLost() {
        for owner in [Bench.other, nil] {
            var bench = Bench.serving()
            #expect(bench.seen(owner, at: 12) == [.hide("db", .claimLost), .detach("db")])
            #expect(bench.volume(.detached) == [])
            #expect(bench.state == .standingBy)
        }
        var bench = Bench.serving()
        #expect(bench.seen(nil, at: 9) == [], "a look from before the claim says nothing")
    }

    @Test("A host outside takes the volume: nobody fences it, and the owner attaches again once it has detached")
    func deposed() {
        var bench = Bench.serving()
        #expect(bench.volume(.deposed) == [.hide("db", .deposed), .detach("db")])
        #expect(bench.volume(.deposed) == [])
        #expect(bench.volume(.detached) == [])
        #expect(bench.state == .deposed(claim))
        #expect(bench.seen(Bench.own(10), at: 12) == [])
        for _ in 0..<2 {
            bench.pass(1000)
            _ = bench.take(.renewed(Bench.lease, seconds: 2, asked: bench.now))
            #expect(bench.seen(Bench.own(10), at: 12) == [.attach("db", .yields)])
            #expect(bench.volume(.attachFailed) == [])
            #expect(bench.state == .deposed(claim))
        }
        bench.pass(1000)
        _ = bench.take(.renewed(Bench.lease, seconds: 2, asked: bench.now))
        #expect(bench.seen(Bench.own(10), at: 12) == [.attach("db", .yields)])
        #expect(bench.volume(.attached) == [.serve("db")])
    }

    @Test("What a host outside has taken is taken back where an operator hands it over")
    func takingBack() {
        var bench = Bench.serving()
        _ = bench.volume(.deposed)
        _ = bench.volume(.detached)
        #expect(bench.succession.volumes["db"]?.canHandOver == true)
        #expect(bench.volume(.handOver(to: "a")) == [.pass("db", claim, to: "a")])
        #expect(bench.volume(.gaveUp(ClaimNumber(13))) == [])
        #expect(bench.seen(Bench.own(13), at: 13) == [.attach("db", .fences)])
    }

    @Test("A hand-over drains and detaches, and only then passes the claim")
    func handOver() {
        var bench = Bench.serving()
        #expect(bench.volume(.handOver(to: "b")) == [.hide("db", .handOver(to: "b")), .detach("db")])
        #expect(bench.volume(.detached) == [.pass("db", claim, to: "b")])
        #expect(bench.volume(.gaveUp(ClaimNumber(12))) == [])
        #expect(bench.seen(Bench.own(10), at: 11) == [], "a look from before it was passed")
        #expect(bench.seen(Bench.other, at: 12) == [])
        #expect(bench.seen(nil, at: 13) == [.claim("db", Bench.lease)], "the other one died")
    }

    @Test("What could not be passed is served again")
    func handOverFails() {
        var bench = Bench.serving()
        _ = bench.volume(.handOver(to: "b"))
        _ = bench.volume(.detached)
        #expect(bench.volume(.givingUpFailed) == [])
        #expect(bench.seen(Bench.own(10), at: 12) == [.attach("db", .fences)])
    }

    @Test("It gives back what it cannot attach, and leaves it to others for a while")
    func attachFails() {
        var bench = Bench.attaching()
        #expect(bench.volume(.attachFailed) == [.release("db", claim)])
        #expect(bench.volume(.gaveUp(ClaimNumber(12))) == [])
        #expect(bench.seen(nil, at: 13) == [])
        for _ in 0..<4 {
            bench.pass(1300)
            _ = bench.take(.renewed(Bench.lease, seconds: 2, asked: bench.now))
        }
        #expect(bench.seen(nil, at: 13) == [.claim("db", Bench.lease)])
    }

    @Test("A registry that was restored from a copy is believed, though it is behind what was seen of it")
    func restored() {
        var bench = Bench.attaching()
        _ = bench.volume(.attached)
        #expect(bench.seen(nil, at: 4) == [], "an answer that was overtaken says nothing")
        bench.pass(10)
        bench.asked = bench.now
        #expect(bench.seen(nil, at: 4) == [.hide("db", .claimLost), .detach("db")])
        #expect(bench.volume(.detached) == [])
        #expect(bench.seen(nil, at: 4) == [.claim("db", Bench.lease)])
        #expect(bench.volume(.claimed(ClaimNumber(5), Bench.lease)) == [.attach("db", .fences)])
    }

    @Test("A volume that cannot be used here is left to others for a while")
    func stalled() {
        var bench = Bench.serving()
        #expect(bench.volume(.stalled) == [.hide("db", .stalled), .detach("db")])
        #expect(bench.volume(.stalled) == [])
        #expect(bench.volume(.detached) == [.release("db", claim)])
        #expect(bench.volume(.gaveUp(ClaimNumber(12))) == [])
        #expect(bench.seen(nil, at: 13) == [], "another one has the time to claim it")
        for _ in 0..<4 {
            bench.pass(1300)
            _ = bench.take(.renewed(Bench.lease, seconds: 2, asked: bench.now))
        }
        #expect(bench.seen(nil, at: 13) == [.claim("db", Bench.lease)])
    }

    @Test("An attach that ends after the lease leads to nothing")
    func attachInVain() {
        var bench = Bench.attaching()
        bench.pass(1900)
        #expect(bench.take(.time) == [.grant])
        #expect(bench.volume(.attached) == [.detach("db")])
        #expect(bench.volume(.detached) == [.revoke(Bench.lease)])
        #expect(bench.state == .standingBy)
    }

    @Test("A claim that was answered after its lease is none")
    func lateClaim() {
        var bench = Bench()
        _ = bench.grant()
        _ = bench.seen(nil, at: 3)
        bench.pass(1900)
        _ = bench.take(.time)
        _ = bench.grant(LeaseNumber(2))
        #expect(bench.volume(.claimed(claim, Bench.lease)).contains(.attach("db", .fences)) == false)
        #expect(bench.state == .standingBy)
    }

    @Test("It ends with everything given back")
    func stopping() {
        var bench = Bench.serving()
        #expect(bench.take(.stop) == [.hide("db", .stopping), .detach("db")])
        #expect(bench.volume(.detached) == [.release("db", claim)])
        #expect(!bench.succession.isOver)
        #expect(bench.volume(.gaveUp(ClaimNumber(12))) == [.revoke(Bench.lease)])
        #expect(bench.succession.isOver)
        #expect(bench.take(.time) == [])
        var idle = Bench()
        #expect(idle.take(.stop) == [])
        #expect(idle.grant() == [.revoke(Bench.lease)], "a lease that comes then is given back")
        #expect(idle.succession.isOver)
    }
}

@Suite("The succession of a volume, in worlds with faults")
struct SuccessionLawTests {
    @Test("No two daemons that are awake are shown to hosts, and in the end one is", arguments: 1...100)
    func laws(seed: UInt64) {
        var world = SuccessionWorld(daemons: 2 + Int(seed % 2), seed: seed)
        world.run(seconds: 60)
        world.hasFaults = false
        world.run(seconds: 15)
        #expect(world.violations == [], "seed \(seed)")
        #expect(world.shown.count == 1, "seed \(seed)")
        #expect(world.owners > 0)
    }
}
