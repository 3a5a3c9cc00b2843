import Foundation
import VolumeSimulation

/// A worker, as the process that started it sees it.
final class WorkerProcess {
    private let process = Process()
    private let output = Pipe()
    private let errors = Pipe()
    private var unread: [UInt8] = []
    /// The seed that runs, and since when; `nil` where its world is at its end.
    private(set) var seed: UInt64
    private var begun: Date? = Date()
    private(set) var isEnded = false

    var descriptor: Int32 { output.fileHandleForReading.fileDescriptor }

    /// - Parameters:
    ///   - keep: the numbers of the faults that happen; all of them where it is `nil`.
    ///   - isTraced: what happens in the worlds is told.
    init(
        first: UInt64, step: UInt64, seeds: UInt64?, kind: WorldKind, keep: [Int]? = nil, isTraced: Bool = false
    ) throws {
        seed = first
        process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        var arguments = ["--seed", "\(first)", "--step", "\(step)"]
        if let seeds { arguments += ["--seeds", "\(seeds)"] }
        if let keep { arguments += ["--keep", keep.map(String.init).joined(separator: ",")] }
        if isTraced { arguments.append("--trace") }
        process.arguments = arguments + kind.arguments
        var environment = ProcessInfo.processInfo.environment
        // A trap is reported by its message and its seed; a backtrace takes seconds.
        environment["SWIFT_BACKTRACE"] = "enable=no"
        process.environment = environment
        process.standardOutput = output
        process.standardError = errors
        try process.run()
        try? output.fileHandleForWriting.close()
        try? errors.fileHandleForWriting.close()
    }

    enum Event {
        case traced(String)
        case counts(SimulationCounts)
        case ended(seed: UInt64, hash: String, failure: WorldFailure?)
        /// The process is gone; why, where it was not because it was done.
        case died(WorldFailure?)
    }

    /// Takes the events since the last call. Waits for at least one.
    func read() -> [Event] {
        var buffer = [UInt8](repeating: 0, count: 65536)
        let count = Foundation.read(descriptor, &buffer, buffer.count)
        guard count > 0 else {
            isEnded = true
            return [.died(end())]
        }
        unread += buffer[..<count]
        var events: [Event] = []
        var start = 0
        while let newline = unread[start...].firstIndex(of: UInt8(ascii: "\n")) {
            if let event = parse(String(decoding: unread[start..<newline], as: UTF8.self)) { events.append(event) }
            start = newline + 1
        }
        unread.removeSubrange(..<start)
        return events
    }

    private func parse(_ line: String) -> Event? {
        let words = line.split(separator: " ", maxSplits: 4, omittingEmptySubsequences: false)
        switch words.first {
        case "begin":
            if words.count > 1, let seed = UInt64(words[1]) { self.seed = seed }
            begun = Date()
            return nil
        case "trace": return .traced(String(line.dropFirst("trace ".count)))
        case "counts":
            return SimulationCounts(encoded: line.split(separator: " ").dropFirst().compactMap { UInt64($0) })
                .map { .counts($0) }
        case "end" where words.count == 5:
            guard let seed = UInt64(words[1]) else { return nil }
            begun = nil
            let failure =
                words[3].isEmpty ? nil : WorldFailure(kind: String(words[3]), reason: String(words[4]))
            return .ended(seed: seed, hash: String(words[2]), failure: failure)
        default: return nil
        }
    }

    /// Waits for the end and says what was wrong.
    private func end() -> WorldFailure? {
        let message = (try? errors.fileHandleForReading.readToEnd()).map { String(decoding: $0, as: UTF8.self) } ?? ""
        process.waitUntilExit()
        guard process.terminationReason == .uncaughtSignal || process.terminationStatus != 0 else { return nil }
        let lines = message.split(separator: "\n").filter { !$0.isEmpty }
        return WorldFailure(
            trap: lines.last.map(String.init) ?? "the process ended with \(process.terminationStatus)")
    }

    /// Ends the worker where its world has run for longer than it may; what is wrong with it then.
    func endIfOverdue(_ limit: TimeInterval) -> WorldFailure? {
        guard !isEnded, let begun, Date().timeIntervalSince(begun) > limit else { return nil }
        stop()
        return WorldFailure(hangingFor: limit)
    }

    /// Ends the worker, also one that does not listen.
    func stop() {
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        isEnded = true
    }
}
