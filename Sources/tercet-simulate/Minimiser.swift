import Foundation

/// Finds few faults with which a seed still fails: drops halves, then quarters and so on, as long as it fails
/// (Zeller's ddmin). Each try is a process of its own, so that traps count as failures.
struct Minimiser {
    let seed: UInt64
    let kind: WorldKind

    /// The numbers of the faults that are needed; `nil` where the seed does not fail with all of them.
    func run(_ all: [Int]) throws -> [Int]? {
        guard try fails(all) else { return nil }
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
        return kept
    }

    private func fails(_ faults: [Int]) throws -> Bool {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments =
            ["--seed", "\(seed)", "--keep", faults.map(String.init).joined(separator: ",")]
            + kind.arguments
        var environment = ProcessInfo.processInfo.environment
        environment["SWIFT_BACKTRACE"] = "enable=no"
        process.environment = environment
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        return process.terminationReason == .uncaughtSignal || process.terminationStatus != 0
    }
}
