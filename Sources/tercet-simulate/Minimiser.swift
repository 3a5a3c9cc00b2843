import VolumeSimulation

/// Finds few faults with which a seed still fails: drops halves, then quarters and so on, as long as it fails in the same
/// way (Zeller's ddmin). Fewer faults may fail in another way: that is another mistake, and not the one looked for.
struct Minimiser {
    let world: OneWorld

    /// The numbers of the faults that are needed, and the failure with them; `nil` where the seed does not fail with all of
    /// them.
    func run(_ all: [Int]) throws -> (fewest: [Int], failure: WorldFailure)? {
        guard var failure = try world.run(keep: all).failure else { return nil }
        func fails(_ faults: [Int]) throws -> Bool {
            guard let found = try world.run(keep: faults).failure, found.kind == failure.kind else { return false }
            failure = found
            return true
        }
        var kept = all
        var pieces = 2
        while kept.count > 1 {
            let size = (kept.count + pieces - 1) / pieces
            var isSmaller = false
            for start in stride(from: 0, to: kept.count, by: size) {
                var rest = kept
                rest.removeSubrange(start..<min(start + size, kept.count))
                if try fails(rest) {
                    kept = rest
                    pieces = max(pieces - 1, 2)
                    isSmaller = true
                    break
                }
            }
            if !isSmaller {
                if size == 1 { break }
                pieces = min(pieces * 2, kept.count)
            }
        }
        if kept.count == 1, try fails([]) { kept = [] }
        return (kept, failure)
    }
}
