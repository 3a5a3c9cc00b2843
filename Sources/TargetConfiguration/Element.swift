import Base
import Yams

/// A value of a configuration file, where it stands, and the key path that leads to it.
package struct Element {
    package let node: Node
    let path: String
    let file: String

    /// The error at this value's place.
    package func error(_ what: String) -> TercetError { Self.error(file, node.mark, path, what) }

    /// A problem in one line: `FILE:LINE:COLUMN: key.path: what is wrong; allowed: what would do`. Without the place if the value
    /// is of no file.
    static func error(_ file: String, _ mark: Mark?, _ path: String, _ what: String) -> TercetError {
        let place = mark.map { "\(file):\($0.line):\($0.column)" } ?? file
        return TercetError(.invalid, [place, path, what].filter { !$0.isEmpty }.joined(separator: ": "))
    }

    /// The values of an object.
    /// - Throws: if this is no object, or has a key that is not among `keys`.
    package func object(keys: [String]) throws(TercetError) -> [String: Element] {
        guard let mapping = node.mapping else {
            throw error("\(kind) where an object is needed; allowed: { \(keys.joined(separator: ", ")) }")
        }
        var values: [String: Element] = [:]
        for (key, value) in mapping {
            guard let name = key.scalar?.string else {
                throw Self.error(file, key.mark, path, "a key is a string; allowed: \(keys.joined(separator: ", "))")
            }
            guard keys.contains(name) else {
                let guess = Spelling.nearest(to: name, in: keys).map { "did you mean '\($0)'? " } ?? ""
                throw Self.error(
                    file, key.mark, child(name), "unknown key; \(guess)allowed: \(keys.joined(separator: ", "))")
            }
            values[name] = Element(node: value, path: child(name), file: file)
        }
        return values
    }

    /// The values of an array.
    package func array() throws(TercetError) -> [Element] {
        guard let sequence = node.sequence else { throw error("\(kind) where an array is needed; allowed: [ ... ]") }
        return sequence.enumerated().map { Element(node: $1, path: "\(path)[\($0)]", file: file) }
    }

    package func string() throws(TercetError) -> String {
        guard let scalar = node.scalar, kind == "a string" else {
            throw error("\(kind) where a string is needed; allowed: \"...\"")
        }
        return scalar.string
    }

    package func boolean() throws(TercetError) -> Bool {
        guard kind == "a boolean" else { throw error("\(kind) where a boolean is needed; allowed: true, false") }
        return node.scalar?.string == "true"
    }

    package func integer(in range: ClosedRange<Int>) throws(TercetError) -> Int {
        let allowed = "allowed: \(range.lowerBound) to \(range.upperBound)"
        guard let scalar = node.scalar, kind == "a number" else {
            throw error("\(kind) where a number is needed; \(allowed)")
        }
        guard let value = Int(scalar.string) else { throw error("\(scalar.string) is no whole number; \(allowed)") }
        guard range.contains(value) else { throw error("\(value) is out of range; \(allowed)") }
        return value
    }

    /// A number of bytes: a number, or a string with a suffix K, M, G or T.
    package func byteCount(in range: ClosedRange<Int>) throws(TercetError) -> Int {
        let limits = "\(Self.format(range.lowerBound)) to \(Self.format(range.upperBound))"
        let allowed = "allowed: \(limits), as a number of bytes or with K, M, G or T"
        guard let scalar = node.scalar, kind == "a number" || kind == "a string" else {
            throw error("\(kind) where a size is needed; \(allowed)")
        }
        guard let bytes = ByteSize.parse(scalar.string) else {
            throw error("'\(scalar.string)' is no size; \(allowed)")
        }
        guard let value = Int(exactly: bytes), range.contains(value) else {
            throw error("\(scalar.string) is out of range; \(allowed)")
        }
        return value
    }

    /// One of a few words.
    func choice<Choice: RawRepresentable & CaseIterable>(
        _ type: Choice.Type
    ) throws(TercetError) -> Choice where Choice.RawValue == String {
        try choice(Choice.allCases.map { ($0.rawValue, $0) })
    }

    /// One of several values, each with its name in the file.
    func choice<Choice>(_ choices: [(name: String, value: Choice)]) throws(TercetError) -> Choice {
        let names = choices.map(\.name)
        let allowed = "allowed: \(names.joined(separator: ", "))"
        guard let scalar = node.scalar, kind == "a string" else {
            throw error("\(kind) where a word is needed; \(allowed)")
        }
        guard let choice = choices.first(where: { $0.name == scalar.string }) else {
            let guess = Spelling.nearest(to: scalar.string, in: names).map { "did you mean '\($0)'? " } ?? ""
            throw error("'\(scalar.string)' is unknown; \(guess)\(allowed)")
        }
        return choice.value
    }

    /// The kind of this value, in JSON's terms.
    private var kind: String {
        guard let scalar = node.scalar else { return node.mapping == nil ? "an array" : "an object" }
        guard scalar.style == .plain || scalar.style == .any else { return "a string" }
        switch scalar.string {
        case "true", "false": return "a boolean"
        case "null", "~", "": return "null"
        default: return Double(scalar.string) == nil ? "a string" : "a number"
        }
    }

    private func child(_ name: String) -> String { path.isEmpty ? name : "\(path).\(name)" }

    private static func format(_ bytes: Int) -> String { ByteSize.format(UInt64(bytes)) }
}

/// Which of a few words somebody may have meant.
enum Spelling {
    /// The word that the fewest edits turn `word` into, if those are few.
    static func nearest(to word: String, in words: [String]) -> String? {
        let distances = words.map { (word: $0, distance: distance(Array(word.lowercased()), Array($0.lowercased()))) }
        guard let best = distances.min(by: { $0.distance < $1.distance }) else { return nil }
        return best.distance <= max(1, best.word.count / 3) ? best.word : nil
    }

    /// Levenshtein's distance.
    private static func distance(_ left: [Character], _ right: [Character]) -> Int {
        var row = Array(0...right.count)
        for (position, character) in left.enumerated() {
            var diagonal = row[0]
            row[0] = position + 1
            for column in right.indices {
                let substitution = diagonal + (character == right[column] ? 0 : 1)
                diagonal = row[column + 1]
                row[column + 1] = min(substitution, diagonal + 1, row[column] + 1)
            }
        }
        return row[right.count]
    }
}
