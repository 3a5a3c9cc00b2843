/// Work on the registrants of namespaces, which may be thousands: a few are looked at in each round, for a reactor does others' I/O
/// between two.
///
/// The work that comes first is finished first, and at once as long as a round has time for it.
final class RegistrantRounds {
    private struct Work {
        /// Does a part of it, on no more registrants than are given where it can; returns on how many, and 0 where all is done.
        var advance: (Int) -> Int
        var finish: () -> Void
    }

    private var waiting: [Work] = []
    /// Registrants that may still be looked at in this round.
    private var left = Limits.registrantsPerRound

    /// Work waits for the next round.
    var isEmpty: Bool { waiting.isEmpty }
    /// Something has been done since the last round began.
    var isDue: Bool { left < Limits.registrantsPerRound }

    func add(_ advance: @escaping (Int) -> Int, finish: @escaping () -> Void) {
        waiting.append(Work(advance: advance, finish: finish))
        if waiting.count == 1 { proceed() }
    }

    /// A round begins. Returns how much has been done.
    func goOn() -> Int {
        left = Limits.registrantsPerRound
        proceed()
        return Limits.registrantsPerRound - left
    }

    private func proceed() {
        while let work = waiting.first, left > 0 {
            let count = work.advance(left)
            left -= count
            guard count == 0 else { continue }
            waiting.removeFirst()
            work.finish()
        }
    }
}
