import Base
import Succession
import Testing

/// A volume that is served, and a daemon that prefers it.
@Suite("The way back to a daemon that prefers a volume")
struct FailBackTests {
    /// One daemon that serves since second 1. Looks are a second apart.
    private struct Bench {
        var succession: DaemonSuccession
        var now = MonotonicTime(nanoseconds: 1_000_000_000)
        private var claims: Int64 = 10
        private let lease = LeaseNumber(1)

        init(prefers: Set<String> = []) {
            succession = DaemonSuccession(prefers: prefers)
            _ = take(.time)
            _ = take(.ready("db"))
            _ = take(.granted(lease, seconds: 86_400, asked: now))
            serve()
        }

        mutating func take(_ event: SuccessionEvent) -> [SuccessionEffect] { succession.take(event, now: now) }

        /// It claims the volume, and serves it.
        mutating func serve() {
            claims += 10
            _ = take(.seen(OwnersView(moment: ClaimNumber(claims - 5), owners: [:], asked: now)))
            _ = take(.volume("db", .claimed(ClaimNumber(claims), lease)))
            _ = take(.volume("db", .attached))
        }

        /// It has given the volume to the other, which has lost it again.
        mutating func comesBack() {
            _ = take(.volume("db", .detached))
            _ = take(.volume("db", .gaveUp(ClaimNumber(claims + 1))))
            serve()
        }

        /// Looks at the registry once a second; returns after how many the volume goes to `b`.
        mutating func looks(_ preference: Preference?, isUsed: Bool = false, most: Int) -> Int? {
            for look in 1...most {
                now = now.advanced(byMilliseconds: 1000)
                if isUsed { _ = take(.volume("db", .used)) }
                let effects = take(
                    .seen(
                        OwnersView(
                            moment: ClaimNumber(claims),
                            owners: ["db": SeenOwner(name: "a", lease: lease, claim: ClaimNumber(claims))], asked: now,
                            preferences: preference.map { ["db": [$0]] } ?? [:])))
                if effects == [.hide("db", .failBack(to: "b")), .detach("db")] { return look }
                #expect(effects.isEmpty)
            }
            return nil
        }
    }

    private func preference(_ failBack: FailBack, hasLivingPath: Bool = true) -> Preference {
        Preference(daemon: "b", failBack: failBack, hasLivingPath: hasLivingPath)
    }

    @Test("It goes back after 30 seconds, and is passed to the daemon that prefers it")
    func goesBack() {
        var bench = Bench()
        #expect(bench.looks(preference(.always), most: 100) == 30)
        #expect(bench.take(.volume("db", .detached)) == [.pass("db", ClaimNumber(20), to: "b")])
    }

    @Test("The other has to have a living path for ten seconds without a break")
    func settles() {
        var bench = Bench()
        #expect(bench.looks(nil, most: 60) == nil)
        #expect(bench.looks(preference(.always), most: 9) == nil)
        #expect(bench.looks(preference(.always, hasLivingPath: false), most: 60) == nil)
        #expect(bench.looks(preference(.always), most: 60) == 11)
    }

    @Test("Quiet is two seconds without use")
    func waitsForQuiet() {
        var bench = Bench()
        #expect(bench.looks(preference(.quiet), isUsed: true, most: 100) == nil)
        #expect(bench.looks(preference(.quiet), most: 10) == 2)
    }

    @Test("After a fail-back that did not last it stays twice as long")
    func staysLonger() {
        var bench = Bench()
        #expect(bench.looks(preference(.always), most: 100) == 30)
        bench.comesBack()
        #expect(bench.looks(preference(.always), most: 100) == 60)
        bench.comesBack()
        #expect(bench.looks(preference(.always), most: 200) == 120)
        bench.now = bench.now.advanced(byMilliseconds: 3_600_000)
        bench.comesBack()
        #expect(bench.looks(preference(.always), most: 200) == 30)
    }

    @Test("Never is never, and an owner that prefers it keeps it")
    func stays() {
        var bench = Bench()
        #expect(bench.looks(preference(.never), most: 200) == nil)
        bench = Bench(prefers: ["db"])
        #expect(bench.looks(preference(.always), most: 200) == nil)
    }

    @Test("The lease of a daemon whose process is gone is ended, and never the own one")
    func peerIsGone() {
        var bench = Bench()
        #expect(bench.take(.peerGone(LeaseNumber(7))) == [.revoke(LeaseNumber(7))])
        #expect(bench.take(.peerGone(LeaseNumber(1))).isEmpty)
    }
}
