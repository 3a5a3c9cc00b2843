import Reactor
import Testing

/// How long a waiting thread spins: it follows what its waits have been, and gives up where spinning is in vain.
@Suite struct SpinLearnerTests {
    private func after(_ waits: some Sequence<(UInt64, Bool)>) -> UInt64 {
        var learner = SpinLearner()
        for (nanoseconds, hasOffered) in waits { learner.waited(nanoseconds, hasOffered: hasOffered) }
        return learner.spinNanoseconds
    }

    @Test func theSpinCoversTheWaitsAndTheirTail() {
        let steady = after((0..<200).map { _ in (8000, false) })
        #expect((8000...16_000).contains(steady), "\(steady)")
        // One in ten takes five times as long: it is spun through as well.
        let tail = after((0..<200).map { ($0 % 10 == 0 ? 40_000 : 8000, false) })
        #expect(tail >= 40_000, "\(tail)")
    }

    @Test func aPauseOfTheLoadDoesNotMakeItSpinForLong() {
        let paused = after((0..<100).map { _ in (8000, false) } + [(3_000_000_000, false)])
        #expect(paused <= SpinLearner.longestNanoseconds)
        let again = after(
            (0..<100).map { _ in (8000, false) } + [(3_000_000_000, false)] + (0..<60).map { _ in (8000, false) })
        #expect(again <= 20_000, "\(again)")
    }

    /// A peer that needs this processor answers only when it is offered.
    @Test func spinningInVainEnds() {
        let waits: [(UInt64, Bool)] = (0..<8).map { _ in (90_000, true) }
        #expect(after(waits) == 0)
        #expect(after(waits.dropLast()) > 0)
        // Now and then it is tried again.
        var learner = SpinLearner()
        for (nanoseconds, hasOffered) in waits { learner.waited(nanoseconds, hasOffered: hasOffered) }
        var waited = 0
        while learner.spinNanoseconds == 0, waited < 10_000 {
            learner.waited(5000, hasOffered: true)
            waited += 1
        }
        #expect((100...1000).contains(waited))
    }
}
