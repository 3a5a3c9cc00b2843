import Reactor
import Testing

/// Whether a reactor polls before it sleeps: it follows what its waits have been.
@Suite struct IdleSpellTests {
    private func after(_ waits: some Sequence<Bool>) -> Bool {
        var spell = IdleSpell()
        for isShort in waits { spell.waited(isShort: isShort) }
        return spell.isWorthwhile
    }

    @Test func itIsWorthwhileWhileMostWaitsAreShort() {
        #expect(after([]))
        // A device that now and then takes long.
        #expect(after((0..<1000).map { $0 % 8 != 7 }))
        // A pause of the load.
        #expect(after(Array(repeating: true, count: 100) + [false]))
    }

    /// A keep-alive and its answer, and nothing for a long time.
    @Test func keepAlivesAreNoReason() {
        #expect(!after((0..<1000).map { $0 % 2 == 0 }))
        #expect(!after(Array(repeating: false, count: 8)))
    }

    @Test func aLoadThatBeginsIsPolledFor() {
        #expect(after(Array(repeating: false, count: 1000) + Array(repeating: true, count: 8)))
    }
}
