import ArgumentParser
import Foundation
import Logging
import Synchronization

/// How the log is written.
public enum LogFormat: String, CaseIterable, Sendable {
    /// A line for people: time, level, message, details.
    case text
    /// A JSON object a line, for machines.
    case json
    /// Entries of this machine's journal, with the details as fields; as text where there is no journal.
    case journal

    /// The form where none is asked for.
    public static var usual: LogFormat { SystemJournal.takesStandardError ? .journal : .text }
}

/// The least level that is logged, which may be changed while loggers are in use. From any thread.
public final class LogThreshold: Sendable {
    private let value: Mutex<Logger.Level>

    public init(_ level: Logger.Level) { value = Mutex(level) }

    public var level: Logger.Level {
        get { value.withLock { $0 } }
        set { value.withLock { $0 = newValue } }
    }
}

/// A line of the log, for somebody who reads along.
public struct LogLine: Sendable {
    /// RFC 3339, UTC.
    public var time: String
    public var level: Logger.Level
    public var message: String
    public var details: [String: String]
}

/// Writes log lines to standard error, or to the journal.
public struct LineLogHandler: LogHandler {
    private let format: LogFormat
    private let journal: SystemJournal?
    private let threshold: LogThreshold
    private let reader: (@Sendable (LogLine) -> Void)?
    public var metadata: Logger.Metadata = [:]

    /// - Parameters:
    ///   - identifier: the program's name, for the journal.
    ///   - threshold: shared with all copies of the logger.
    ///   - reader: gets each line that is written; must not wait.
    public init(
        _ identifier: String, format: LogFormat, threshold: LogThreshold, reader: (@Sendable (LogLine) -> Void)? = nil
    ) {
        self.format = format
        journal = format == .journal ? SystemJournal(identifier: identifier) : nil
        self.threshold = threshold
        self.reader = reader
    }

    public var logLevel: Logger.Level {
        get { threshold.level }
        set { threshold.level = newValue }
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        let all = metadata.merging(event.metadata ?? [:]) { $1 }
        let details = all.sorted { $0.key < $1.key }.map { ($0.key, $0.value.description) }
        if format == .json {
            writeToStandardError(json(event, details) + "\n")
        } else {
            let text = Self.text(event, details)
            if journal?.add(event.level, text, details) != true {
                writeToStandardError("\(Self.time) \(event.level): \(text)\n")
            }
        }
        guard let reader else { return }
        let object = Dictionary(details) { first, _ in first }
        reader(LogLine(time: Self.time, level: event.level, message: event.message.description, details: object))
    }

    private static var time: String {
        Date().formatted(.iso8601.time(includingFractionalSeconds: true).dateSeparator(.dash).year().month().day())
    }

    private static func text(_ event: LogEvent, _ details: [(String, String)]) -> String {
        escaped("\(event.message)\(details.map { " \($0.0)=\($0.1)" }.joined())")
    }

    /// The text in one line that shows what is in it. Names that hosts send may have any characters: a line feed would begin
    /// a line that looks like one of ours, and a terminal obeys control characters.
    private static func escaped(_ text: String) -> String {
        func isHarmless(_ scalar: Unicode.Scalar) -> Bool {
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator: false
            default: true
            }
        }
        if text.unicodeScalars.allSatisfy(isHarmless) { return text }
        return text.unicodeScalars.reduce(into: "") { line, scalar in
            line += isHarmless(scalar) ? String(scalar) : "\\u{\(String(scalar.value, radix: 16))}"
        }
    }

    private func json(_ event: LogEvent, _ details: [(String, String)]) -> String {
        var object: [String: String] = Dictionary(uniqueKeysWithValues: details)
        object["time"] = Self.time
        object["level"] = event.level.rawValue
        object["message"] = event.message.description
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // A dictionary of strings always encodes.
        return (try? encoder.encode(object)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
    }
}

extension LogFormat: ExpressibleByArgument {}
extension Logger.Level: @retroactive ExpressibleByArgument {}
