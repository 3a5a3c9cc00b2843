import Foundation
import VolumeSimulation

/// A worker, as the process that started it sees it.
final class WorkerProcess {
    private let process = Process()
    private let output = Pipe()
    private let errors = Pipe()
    private var unread: [UInt8] = []
    /// The seed that runs.
    private(set) var seed: UInt64
    private(set) var isEnded = false

    var descriptor: Int32 { output.fileHandleForReading.fileDescriptor }

    init(first: UInt64, step: UInt64, seeds: UInt64?, kind: WorldKind) throws {
        seed = first
        process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments =
            ["--seed", "\(first)", "--step", "\(step)"] + (seeds.map { ["--seeds", "\($0)"] } ?? [])
            + kind.arguments
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
        case counts(SimulationCounts)
        case ended(seed: UInt64, hash: String, failure: String?)
        /// The process is gone; why, where it was not because it was done.
        case died(String?)
    }

    /// What has been said since the last time. Waits for something.
    func read() -> [Event] {
        var buffer = [UInt8](repeating: 0, count: 65536)
        let count = Foundation.read(descriptor, &buffer, buffer.count)
        guard count > 0 else {
            isEnded = true
            return [.died(end())]
        }
        unread += buffer[..<count]
        var events: [Event] = []
        while let newline = unread.firstIndex(of: UInt8(ascii: "\n")) {
            let line = String(decoding: unread[..<newline], as: UTF8.self)
            unread.removeSubrange(...newline)
            if let event = parse(line) { events.append(event) }
        }
        return events
    }

    private func parse(_ line: String) -> Event? {
        let words = line.split(separator: " ", maxSplits: 3, omittingEmptySubsequences: false)
        switch words.first {
        case "begin":
            if words.count > 1, let seed = UInt64(words[1]) { self.seed = seed }
            return nil
        case "counts":
            return SimulationCounts(encoded: line.split(separator: " ").dropFirst().compactMap { UInt64($0) })
                .map { .counts($0) }
        case "end" where words.count == 4:
            guard let seed = UInt64(words[1]) else { return nil }
            return .ended(seed: seed, hash: String(words[2]), failure: words[3].isEmpty ? nil : String(words[3]))
        default: return nil
        }
    }

    /// Waits for the end and says what was wrong.
    private func end() -> String? {
        let message = (try? errors.fileHandleForReading.readToEnd()).map { String(decoding: $0, as: UTF8.self) } ?? ""
        process.waitUntilExit()
        guard process.terminationReason == .uncaughtSignal || process.terminationStatus != 0 else { return nil }
        let lines = message.split(separator: "\n").filter { !$0.isEmpty }
        return lines.last.map(String.init) ?? "ended by signal \(process.terminationStatus)"
    }

    func stop() {
        process.terminate()
        process.waitUntilExit()
        isEnded = true
    }
}
