import ArgumentParser
import Foundation

/// How often, and how many times, a command looks at a daemon.
struct LiveLooks: ParsableArguments {
    @Option(name: .long, help: "Seconds between two looks.") var interval = 1.0
    @Option(name: .long, help: "End after so many looks.") var count: Int?

    func validate() throws {
        guard interval >= 0.1, interval <= 3600 else {
            throw ValidationError("--interval \(interval): is out of range; allowed: 0.1 to 3600")
        }
    }

    /// Shows what has changed between each two looks.
    func run<Counters>(look: () throws -> Counters, show: (_ before: Counters, _ now: Counters) throws -> Void) throws {
        var before = try look()
        var looks = 0
        while looks < count ?? .max {
            Thread.sleep(forTimeInterval: interval)
            let now = try look()
            try show(before, now)
            fflush(nil)
            before = now
            looks += 1
        }
    }

    /// On a terminal one look takes the place of the one before.
    static func clear() { if isatty(STDOUT_FILENO) == 1 { print("\u{1b}[H\u{1b}[2J", terminator: "") } }
}
