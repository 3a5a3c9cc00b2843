/// A Swift source split into code and comments: two texts of the same lines and columns as the source, in which everything else
/// is blank. Contents of string literals are in neither; code that is interpolated into a string is code.
struct SwiftText {
    let code: [String]
    let comments: [String]

    init(_ source: String) {
        var scanner = SwiftScanner(source)
        scanner.scan()
        code = Self.lines(scanner.code)
        comments = Self.lines(scanner.comments)
    }

    private static func lines(_ bytes: [UInt8]) -> [String] {
        bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map {
            String(decoding: $0, as: UTF8.self)
        }
    }
}

/// Goes once over a source, byte for byte.
private struct SwiftScanner {
    /// A string literal that is open: how many number signs it has, and whether it spans lines.
    private struct Literal {
        var signs: Int
        var isMultiline: Bool
        /// Parentheses that are open in the interpolation that is being scanned.
        var parentheses = 0
    }

    private let source: [UInt8]
    private(set) var code: [UInt8]
    private(set) var comments: [UInt8]
    private var place = 0
    /// Literals whose interpolations are being scanned, the innermost last.
    private var open: [Literal] = []

    init(_ text: String) {
        source = Array(text.utf8)
        let blank = source.map { $0 == UInt8(ascii: "\n") ? $0 : UInt8(ascii: " ") }
        code = blank
        comments = blank
    }

    private func sees(_ text: StaticString, at offset: Int = 0) -> Bool {
        let count = text.utf8CodeUnitCount
        guard place + offset + count <= source.count else { return false }
        return (0..<count).allSatisfy { source[place + offset + $0] == text.utf8Start[$0] }
    }

    mutating func scan() {
        while place < source.count {
            let byte = source[place]
            // Most bytes begin nothing.
            if byte != UInt8(ascii: "/") && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "#") {
                codeByte()
            } else if sees("//") {
                lineComment()
            } else if sees("/*") {
                blockComment()
            } else if let literal = literalHere() {
                string(literal)
            } else {
                codeByte()
            }
        }
    }

    private mutating func lineComment() {
        while place < source.count, source[place] != UInt8(ascii: "\n") {
            comments[place] = source[place]
            place += 1
        }
    }

    private mutating func blockComment() {
        var depth = 0
        repeat {
            let isEnd = sees("*/")
            if sees("/*") { depth += 1 }
            if isEnd { depth -= 1 }
            let count = isEnd || sees("/*") ? 2 : 1
            for _ in 0..<count where place < source.count {
                comments[place] = source[place]
                place += 1
            }
        } while depth > 0 && place < source.count
    }

    /// The literal that begins here, if one does.
    private func literalHere() -> Literal? {
        var signs = 0
        while sees("#", at: signs) { signs += 1 }
        guard sees("\"", at: signs) else { return nil }
        return Literal(signs: signs, isMultiline: sees("\"\"\"", at: signs))
    }

    /// Skips the beginning of a literal and its contents.
    private mutating func string(_ literal: Literal) {
        let quotes = literal.isMultiline ? 3 : 1
        code[place] = UInt8(ascii: "\"")
        place += literal.signs + quotes
        contents(literal)
    }

    /// Skips contents to the end of the literal, or to an interpolation, whose code follows.
    private mutating func contents(_ literal: Literal) {
        while place < source.count {
            let byte = source[place]
            if byte != UInt8(ascii: "\\") && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\n") {
                place += 1
            } else if byte == UInt8(ascii: "\\"), hasSigns(literal.signs, at: 1) {
                if sees("(", at: 1 + literal.signs) {
                    place += 2 + literal.signs
                    open.append(literal)
                    return
                }
                place += 2 + literal.signs
            } else if literal.isMultiline ? sees("\"\"\"") : sees("\""),
                hasSigns(literal.signs, at: literal.isMultiline ? 3 : 1)
            {
                place += (literal.isMultiline ? 3 : 1) + literal.signs
                code[place - 1] = UInt8(ascii: "\"")
                return
            } else if !literal.isMultiline, source[place] == UInt8(ascii: "\n") {
                return
            } else {
                place += 1
            }
        }
    }

    private func hasSigns(_ count: Int, at offset: Int) -> Bool {
        (0..<count).allSatisfy { sees("#", at: offset + $0) }
    }

    private mutating func codeByte() {
        let byte = source[place]
        if let last = open.indices.last {
            if byte == UInt8(ascii: "(") { open[last].parentheses += 1 }
            if byte == UInt8(ascii: ")") {
                if open[last].parentheses == 0 {
                    let literal = open.removeLast()
                    place += 1
                    return contents(Literal(signs: literal.signs, isMultiline: literal.isMultiline))
                }
                open[last].parentheses -= 1
            }
        }
        code[place] = byte
        place += 1
    }
}
