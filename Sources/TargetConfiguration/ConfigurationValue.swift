import Yams

/// A value of a configuration as it is written: what JSON can say, with the order of keys.
public enum ConfigurationValue: Equatable, Sendable {
    case null
    case boolean(Bool)
    /// As it is written.
    case number(String)
    case text(String)
    case array([ConfigurationValue])
    case object([Entry])

    /// A key of an object, with its value.
    public struct Entry: Equatable, Sendable {
        public var key: String
        public var value: ConfigurationValue

        public init(_ key: String, _ value: ConfigurationValue) {
            self.key = key
            self.value = value
        }
    }

    /// The entries of an object; none of anything else. Setting them makes it an object.
    var entries: [Entry] {
        get { if case .object(let entries) = self { entries } else { [] } }
        set { self = .object(newValue) }
    }

    /// The elements of an array; none of anything else. Setting them makes it an array.
    var elements: [ConfigurationValue] {
        get { if case .array(let elements) = self { elements } else { [] } }
        set { self = .array(newValue) }
    }

    /// The value of a key of an object; `nil` removes it, and a new one comes last.
    public subscript(key: String) -> ConfigurationValue? {
        get { entries.first { $0.key == key }?.value }
        set {
            let place = entries.firstIndex { $0.key == key }
            switch (place, newValue) {
            case (let place?, let value?): entries[place].value = value
            case (let place?, nil): entries.remove(at: place)
            case (nil, let value?): entries.append(Entry(key, value))
            case (nil, nil): break
            }
        }
    }

    /// The string that it is.
    var string: String? { if case .text(let text) = self { text } else { nil } }

    /// The whole number that it is.
    var integer: Int? { if case .number(let text) = self { Int(text) } else { nil } }
}

// MARK: As YAML's nodes, from which a configuration is read

extension ConfigurationValue {
    init(_ node: Node) {
        if let mapping = node.mapping {
            self = .object(mapping.map { Entry($0.key.scalar?.string ?? "", ConfigurationValue($0.value)) })
        } else if let sequence = node.sequence {
            self = .array(sequence.map { ConfigurationValue($0) })
        } else {
            self = Self.scalar(node.scalar)
        }
    }

    private static func scalar(_ scalar: Node.Scalar?) -> ConfigurationValue {
        guard let scalar else { return .null }
        guard scalar.style == .plain || scalar.style == .any else { return .text(scalar.string) }
        switch scalar.string {
        case "true": return .boolean(true)
        case "false": return .boolean(false)
        case "null", "~", "": return .null
        default: return Double(scalar.string) == nil ? .text(scalar.string) : .number(scalar.string)
        }
    }

    /// Of no file: without places.
    var node: Node {
        func plain(_ text: String) -> Node { .scalar(Node.Scalar(text, .implicit, .plain)) }
        func quoted(_ text: String) -> Node { .scalar(Node.Scalar(text, .implicit, .doubleQuoted)) }
        switch self {
        case .null: return plain("null")
        case .boolean(let value): return plain("\(value)")
        case .number(let text): return plain(text)
        case .text(let text): return quoted(text)
        case .array(let elements): return .sequence(Node.Sequence(elements.map(\.node)))
        case .object(let entries): return .mapping(Node.Mapping(entries.map { (quoted($0.key), $0.value.node) }))
        }
    }
}

// MARK: As text

extension ConfigurationValue {
    /// In JSON, indented. An array or an object that is short stands in one line.
    ///
    /// - Parameter indentation: of the lines after the first, in spaces.
    public func text(indentation: Int = 0) -> String {
        let line = compact
        guard indentation + line.utf8.count > Self.lineLength else { return line }
        let inner = indentation + 2
        func joined(_ lines: [String], _ open: String, _ close: String) -> String {
            let space = String(repeating: " ", count: inner)
            return "\(open)\n" + lines.map { space + $0 }.joined(separator: ",\n") + "\n"
                + String(repeating: " ", count: indentation) + close
        }
        switch self {
        case .array(let elements): return joined(elements.map { $0.text(indentation: inner) }, "[", "]")
        case .object(let entries):
            return joined(
                entries.map { "\(Self.quoted($0.key)): \($0.value.text(indentation: inner))" }, "{", "}")
        default: return line
        }
    }

    private static let lineLength = 100

    /// In one line.
    private var compact: String {
        switch self {
        case .null: "null"
        case .boolean(let value): "\(value)"
        case .number(let text): text
        case .text(let text): Self.quoted(text)
        case .array(let elements):
            elements.isEmpty ? "[]" : "[ \(elements.map(\.compact).joined(separator: ", ")) ]"
        case .object(let entries):
            entries.isEmpty
                ? "{}"
                : "{ \(entries.map { "\(Self.quoted($0.key)): \($0.value.compact)" }.joined(separator: ", ")) }"
        }
    }

    private static func quoted(_ text: String) -> String {
        let escaped = text.unicodeScalars.reduce(into: "") { result, scalar in
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return "\"\(escaped)\""
    }
}
