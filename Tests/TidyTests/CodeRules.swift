import Foundation

/// Rules for code; each takes a source and gives the places that break it.
enum CodeRules {
    /// Functions of `limit` lines or more, from the declaration to the closing brace.
    static func longFunctions(_ path: String, _ text: SwiftText, limit: Int) -> [Finding] {
        functions(text).filter { $0.lines >= limit }
            .map {
                Finding(
                    path: path, line: $0.line, text: "\($0.name) has \($0.lines) lines; fewer than \(limit) are allowed"
                )
            }
    }

    /// Functions and initializers that have a body, with the line of the declaration, from 1.
    static func functions(_ text: SwiftText) -> [(name: String, line: Int, lines: Int)] {
        let declaration =
            /(?:^|[^.\w])(?<name>func\s+[^\s(<]+|init(?=[?!]?\s*[(<])|deinit(?=\s*\{)|subscript(?=\s*[(<]))/
        var found: [(name: String, line: Int, lines: Int)] = []
        for (index, line) in text.code.enumerated() {
            guard line.has("func ") || line.has("init") || line.has("subscript") else { continue }
            guard let match = line.firstMatch(of: declaration) else { continue }
            guard let end = bodyEnd(text.code, line: index, from: match.output.name.endIndex) else { continue }
            found.append((String(match.output.name), index + 1, end - index + 1))
        }
        return found
    }

    /// The line with the brace that ends the body, or `nil` where there is no body.
    private static func bodyEnd(_ code: [String], line: Int, from start: String.Index) -> Int? {
        var brackets = 0
        var braces = 0
        for index in line..<code.count {
            let part = index == line ? code[index][start...] : code[index][...]
            // A declaration without a body ends with its line, unless the next one goes on with it.
            if index > line, brackets == 0, braces == 0, !continues(code[index - 1], part) { return nil }
            for character in part {
                switch character {
                case "(", "[": brackets += 1
                case ")", "]": brackets -= 1
                case "{": braces += 1
                case "}":
                    braces -= 1
                    if braces == 0 && brackets == 0 { return index }
                    if braces < 0 { return nil }
                default: break
                }
            }
        }
        return nil
    }

    private static func continues(_ former: String, _ next: Substring) -> Bool {
        let words = ["{", "->", "where", "throws", "rethrows", "async"]
        let trimmed = next.drop { $0 == " " }
        let end = former.trimmingCharacters(in: .whitespaces)
        return words.contains { trimmed.hasPrefix($0) } || words.contains { end.hasSuffix($0) } || end.hasSuffix(",")
    }

    /// `@unchecked Sendable` without a comment that says "unchecked" and why, within the six lines before or the four after.
    static func uncheckedWithoutReason(_ path: String, _ text: SwiftText) -> [Finding] {
        text.code.indices.filter { text.code[$0].has("@unchecked Sendable") }.compactMap { index in
            let near = text.comments[max(0, index - 6)...min(text.comments.count - 1, index + 4)]
            if near.contains(where: { $0.lowercased().contains("unchecked:") }) { return nil }
            return Finding(
                path: path, line: index + 1,
                text: "@unchecked Sendable without \"Unchecked: \" and the reason beside it")
        }
    }

    /// Numbers whose names end with a word of time and do not say in which unit they count.
    static func numbersWithoutUnits(_ path: String, _ text: SwiftText) -> [Finding] {
        let rule =
            /\b(?:let|var)\s+(\w*(?:[tT]imeout|[dD]elay|[iI]nterval|[dD]eadline|[lL]atency|[pP]eriod|[sS]pell|[dD]uration|[sS]tandstill))\s*:\s*(?:U?Int(?:8|16|32|64)?|Double|Float)\b/
        return text.code.enumerated().compactMap { index, line in
            guard line.has(": "), line.has("let ") || line.has("var ") else { return nil }
            guard let match = line.firstMatch(of: rule) else { return nil }
            let problem = "\(match.output.1) is a number of time without a unit in its name"
            return Finding(path: path, line: index + 1, text: problem)
        }
    }

    /// Files that are written by Foundation: neither a death nor a power loss is thought of, nor what was there (`DurableFile`,
    /// `SecretFile` and `OutputFile` do).
    static func carelessWrites(_ path: String, _ text: SwiftText) -> [Finding] {
        text.code.enumerated().compactMap { index, line in
            line.firstMatch(of: /createFile\(|options: \[?\.atomic|atomically: true/).map { match in
                Finding(path: path, line: index + 1, text: "\(match.output) is no way to write a file")
            }
        }
    }

    /// Names that say nothing, and notes of what is left to do.
    static func names(_ path: String, _ text: SwiftText) -> [Finding] {
        var findings: [Finding] = []
        let notes: [StaticString] = ["TODO", "FIXME", "XXX", "HACK"]
        let names: [StaticString] = ["Util", "Manager", "Helper"]
        for index in text.code.indices {
            let comment = text.comments[index]
            if notes.contains(where: comment.has), let match = comment.firstMatch(of: /\b(TODO|FIXME|XXX|HACK)\b/) {
                findings.append(Finding(path: path, line: index + 1, text: "\(match.output.1) in a comment"))
            }
            if names.contains(where: text.code[index].has),
                let match = text.code[index].firstMatch(
                    of: /\b(?:class|struct|enum|protocol|actor)\s+(\w*(?:Utils?|Utilities|Manager|Helpers?))\b/)
            {
                findings.append(
                    Finding(path: path, line: index + 1, text: "\(match.output.1) says nothing about what it does"))
            }
        }
        return findings
    }
}

/// Rules for English.
enum CommentRules {
    /// Comments that open with a subject clause instead of a subject.
    static func openings(_ path: String, _ text: SwiftText) -> [Finding] {
        var findings: [Finding] = []
        var isWithin = false
        for (index, comment) in text.comments.enumerated() {
            guard comment.has("/") else {
                isWithin = false
                continue
            }
            let isAlone = text.code[index].utf8.allSatisfy { $0 == UInt8(ascii: " ") }
            let words = comment.drop { $0 == " " }
            let first = words.drop { $0 == "/" || $0 == "*" || $0 == " " }.prefix { $0.isLetter }
            // A comment behind code is one of its own.
            if !(isWithin && isAlone), forbidden.contains(String(first)) {
                findings.append(Finding(path: path, line: index + 1, text: "a comment opens with \"\(first)\""))
            }
            isWithin = isAlone
        }
        return findings
    }

    static let forbidden: Set<String> = ["What", "Whatever", "Who", "Whoever", "Whom", "Whose", "Where", "Wherever"]
}

/// Rules for documents.
enum DocumentRules {
    /// Links that lead nowhere, and paths of the project that are named and not there.
    static func deadLinks(_ file: Project.File, exists: (String) -> Bool, headings: (String) -> Set<String>)
        -> [Finding]
    {
        var findings: [Finding] = []
        let folder = file.path.split(separator: "/").dropLast().joined(separator: "/")
        for (index, line) in file.lines.enumerated() {
            for match in line.matches(of: /\[[^\]]*\]\(([^)\s]+)\)/) {
                let target = String(match.output.1)
                guard !target.contains("://") else { continue }
                let parts = target.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false).map(
                    String.init)
                let path = parts[0].isEmpty ? file.path : resolved(folder, parts[0])
                if !exists(path) {
                    findings.append(Finding(path: file.path, line: index + 1, text: "\(target) leads nowhere"))
                } else if parts.count == 2, !headings(path).contains(parts[1]) {
                    findings.append(
                        Finding(path: file.path, line: index + 1, text: "\(target): there is no such heading"))
                }
            }
            for match in line.matches(of: /`((?:Sources|Tests|Tools|Deploy)\/[\w.\/+-]*\w)`?/) {
                let path = String(match.output.1)
                if !exists(path) && !exists(path + ".swift") {
                    findings.append(Finding(path: file.path, line: index + 1, text: "there is no \(path)"))
                }
            }
        }
        return findings
    }

    /// The anchors of a document's headings, as GitHub makes them.
    static func anchors(_ text: String) -> Set<String> {
        var isCode = false
        var anchors: Set<String> = []
        for line in text.split(separator: "\n") {
            if line.hasPrefix("```") { isCode.toggle() }
            guard !isCode, line.hasPrefix("#"), let space = line.firstIndex(of: " ") else { continue }
            let words = line[space...].lowercased().trimmingCharacters(in: .whitespaces)
            let kept = words.filter { $0.isLetter || $0.isNumber || $0 == " " || $0 == "-" || $0 == "_" }
            anchors.insert(kept.replacingOccurrences(of: " ", with: "-"))
        }
        return anchors
    }

    private static func resolved(_ folder: String, _ path: String) -> String {
        var parts = folder.split(separator: "/").map(String.init)
        for part in path.split(separator: "/") {
            if part == ".." { _ = parts.popLast() } else if part != "." { parts.append(String(part)) }
        }
        return parts.joined(separator: "/")
    }
}

extension String {
    /// Whether an ASCII text occurs in it; quicker than a regular expression, which is asked for the few lines that have it.
    func has(_ text: StaticString) -> Bool {
        let count = text.utf8CodeUnitCount
        var line = self
        return line.withUTF8 { bytes in
            guard bytes.count >= count else { return false }
            return (0...bytes.count - count).contains { start in
                (0..<count).allSatisfy { bytes[start + $0] == text.utf8Start[$0] }
            }
        }
    }
}
