import ArgumentParser
import Base
import Foundation
import NVMeSpec
import Trace

struct TraceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace", abstract: "Print the last events of a process, from the file that it dumped them to.",
        discussion: """
            tercetd, tercet-volumed and "tercet volume bench" dump their last events when they get SIGUSR1, and when they trap; they say \
            where. Each thread has a list of its own. Times are in UTC; a thread reads its clock every few rounds, so events \
            close to each other may show the same time, and stand in the order in which they happened.

            Kinds of events: \(TraceKind.allCases.dropFirst().map(\.name).joined(separator: ", ")).
            """)

    @Argument(help: ArgumentHelp("The file.", valueName: "FILE")) var file: String

    @Option(help: ArgumentHelp("Only events of this kind. Repeatable.", valueName: "KIND")) var kind: [TraceKind] = []

    @Option(help: ArgumentHelp("Only the list of this thread.", valueName: "NAME")) var thread: String?

    @Option(help: ArgumentHelp("Only events later than so long before the dump.", valueName: "SECONDS"))
    var since: Double?

    @Option(help: ArgumentHelp("Only events earlier than so long before the dump.", valueName: "SECONDS"))
    var until: Double?

    @Flag(help: "Print JSON.") var json = false

    func validate() throws {
        for seconds in [since, until].compactMap({ $0 }) {
            guard seconds >= 0, seconds <= 1e9 else { throw ValidationError("--since and --until are seconds, from 0") }
        }
    }

    func run() throws {
        let bytes = try InputFile(file).contents(limit: .max)
        var trace: TraceFile
        do throws(TraceFileError) { trace = try TraceFile(bytes) } catch {
            throw TercetError(.invalid, "\(file): \(error)")
        }
        if let thread {
            let names = trace.rings.map(\.name).joined(separator: ", ")
            trace.rings.removeAll { $0.name != thread }
            guard !trace.rings.isEmpty else {
                throw TercetError(.notFound, "\(file): no thread \(thread); there are: \(names)")
            }
        }
        let dumped = trace.monotonicNanoseconds
        for index in trace.rings.indices { trace.rings[index].events.removeAll { !isWanted($0, dumped) } }
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            return print(String(decoding: try encoder.encode(TraceReport(trace)), as: UTF8.self))
        }
        show(trace)
    }

    private func isWanted(_ event: TraceEvent, _ dumped: UInt64) -> Bool {
        guard kind.isEmpty || kind.contains(where: { $0.rawValue == event.kind }) else { return false }
        guard since != nil || until != nil else { return true }
        guard let time = event.timeNanoseconds else { return false }
        let age = (Double(dumped) - Double(time)) / 1e9
        return age <= since ?? .infinity && age >= until ?? -.infinity
    }

    private func show(_ trace: TraceFile) {
        for ring in trace.rings {
            print("== \(ring.name) of process \(trace.process), \(ring.events.count) events")
            for event in ring.events {
                let time = event.timeNanoseconds.map { timeOfDay(trace.wallNanoseconds(of: $0)) } ?? "--:--:--.------"
                print("\(time)  \(event.text)")
            }
        }
        if trace.isCutOff { print("the file ends here within a list: it was not written to its end") }
    }

    /// HH:MM:SS.µµµµµµ in UTC.
    private func timeOfDay(_ wallNanoseconds: UInt64) -> String {
        let seconds = wallNanoseconds / 1_000_000_000 % 86_400
        return String(
            format: "%02llu:%02llu:%02llu.%06llu", seconds / 3600, seconds / 60 % 60, seconds % 60,
            wallNanoseconds % 1_000_000_000 / 1000)
    }
}

extension TraceKind: ExpressibleByArgument {
    public init?(argument: String) { self.init(name: argument) }
    public static var allValueStrings: [String] { allCases.dropFirst().map(\.name) }
}

extension TraceEvent {
    /// The kind and its values, in one line.
    var text: String {
        guard let known = TraceKind(rawValue: kind) else { return "event \(kind): a \(a), b \(b)" }
        let values = known.fields.map { field -> String in
            let value = field.value(a: a, b: b)
            switch field.name {
            case "opcode": return "opcode \(String(format: "0x%02llx", value))"
            case "status" where field.bits.count == 15:
                return "status \(Status(rawValue: UInt16(truncatingIfNeeded: value)))"
            default: return "\(field.name) \(value)"
            }
        }
        return known.name.padding(toLength: 24, withPad: " ", startingAt: 0) + values.joined(separator: ", ")
    }
}

/// The output of `--json`.
struct TraceReport: Encodable {
    struct Thread: Encodable {
        var name: String
        var events: [Event]
    }

    struct Event: Encodable {
        /// Since 1970; absent where it is not known.
        var time_ns: UInt64?
        var kind: String
        var values: [String: UInt64]
    }

    var process: UInt32
    var time_ns: UInt64
    var complete: Bool
    var threads: [Thread]

    init(_ trace: TraceFile) {
        process = trace.process
        time_ns = trace.wallNanoseconds
        complete = !trace.isCutOff
        threads = trace.rings.map { ring in
            Thread(
                name: ring.name,
                events: ring.events.map { event in
                    let known = TraceKind(rawValue: event.kind)
                    let values = known?.fields.map { ($0.name, $0.value(a: event.a, b: event.b)) }
                    return Event(
                        time_ns: event.timeNanoseconds.map(trace.wallNanoseconds(of:)),
                        kind: known?.name ?? String(event.kind),
                        values: Dictionary(uniqueKeysWithValues: values ?? [("a", UInt64(event.a)), ("b", event.b)]))
                })
        }
    }
}
