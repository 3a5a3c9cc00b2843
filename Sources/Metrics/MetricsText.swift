/// Metrics in Prometheus' text format, version 0.0.4 ("Exposition formats"). A family of metrics comes with its kind and its help,
/// and is left out if it has no samples.
public struct MetricsText: Sendable {
    public enum Kind: String, Sendable {
        /// Only rises, but for a start anew; its name ends in `_total`.
        case counter
        case gauge
        case histogram
    }

    /// The media type of `text`.
    public static let mediaType = "text/plain; version=0.0.4; charset=utf-8"

    public private(set) var text = ""

    public init() {}

    /// Adds a family.
    ///
    /// - Parameters:
    ///   - name: `tercet_`, the subject, the thing in the plural, its unit in full: seconds or bytes.
    ///   - help: one line.
    public mutating func family(_ name: String, _ kind: Kind, _ help: String, _ body: (inout MetricsFamily) -> Void) {
        var family = MetricsFamily(name: name)
        body(&family)
        if family.text.isEmpty { return }
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n\(family.text)"
    }
}

/// Samples of one name.
public struct MetricsFamily: Sendable {
    public typealias Labels = [(name: String, value: String)]

    fileprivate let name: String
    fileprivate var text = ""

    fileprivate init(name: String) { self.name = name }

    public mutating func sample(_ labels: Labels, _ value: UInt64) { add(name, labels, "\(value)") }

    public mutating func sample(_ labels: Labels, _ value: Double) { add(name, labels, Self.number(value)) }

    /// A histogram.
    ///
    /// - Parameters:
    ///   - buckets: upper bounds, ascending, each with how much lies at or below it and above the one before.
    ///   - sum: of all that was counted.
    public mutating func histogram(_ labels: Labels, _ buckets: [(upTo: Double, count: UInt64)], sum: Double) {
        var count: UInt64 = 0
        for bucket in buckets {
            count += bucket.count
            add("\(name)_bucket", labels + [("le", Self.number(bucket.upTo))], "\(count)")
        }
        add("\(name)_bucket", labels + [("le", "+Inf")], "\(count)")
        add("\(name)_sum", labels, Self.number(sum))
        add("\(name)_count", labels, "\(count)")
    }

    private mutating func add(_ name: String, _ labels: Labels, _ value: String) {
        text += name
        if !labels.isEmpty {
            text += "{" + labels.map { "\($0.name)=\"\(Self.escaped($0.value))\"" }.joined(separator: ",") + "}"
        }
        text += " \(value)\n"
    }

    private static func number(_ value: Double) -> String {
        Int64(exactly: value).map { "\($0)" } ?? "\(value)"
    }

    /// A backslash, a double quote and a line feed are escaped.
    private static func escaped(_ text: String) -> String {
        guard text.utf8.contains(where: { $0 == 0x5c || $0 == 0x22 || $0 == 0x0a }) else { return text }
        return text.unicodeScalars.reduce(into: "") { result, scalar in
            switch scalar {
            case "\\": result += "\\\\"
            case "\"": result += "\\\""
            case "\n": result += "\\n"
            default: result.unicodeScalars.append(scalar)
            }
        }
    }
}
