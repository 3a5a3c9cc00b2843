import Foundation

/// An explanation as people read it.
extension VolumeExplanation {
    /// The same in words: a line for each thing. A line that would be long has one for each of its parts, indented.
    public var lines: [String] {
        let (cause, reasons) = partedCause
        var lines = ["volume \(name)\(uuid.isEmpty ? "" : " (\(uuid))"): \(phase) since \(since): \(cause)"]
        for member in members {
            let regions =
                member.behindRegions > 0
                ? ", \(member.behindRegions) regions (\(member.behindBytes) bytes) to copy" : ""
            lines.append(
                "member \(member.number) (\(member.address)): \(member.state)\(regions) since \(member.since): "
                    + (reasons[member.number] ?? member.cause))
        }
        if let ownership { lines.append("owner: \(ownership.words)") }
        if !contents.isEmpty, contents != "written" { lines.append("contents: \(contents)") }
        lines += needs.map { "needed: \($0)" } + risks.map { "risk: \($0)" }
        return lines.flatMap { Self.broken($0) }
    }

    /// The cause without its parts on members that are not attached, and those parts by the members' numbers: each is said on its
    /// member's line.
    private var partedCause: (cause: String, reasons: [Int: String]) {
        let marks = members.filter { $0.state == "not attached" }.compactMap { member in
            cause.range(of: "member \(member.number) (\(member.address)): ").map { (member.number, $0) }
        }
        var (rest, reasons) = (cause[...], [Int: String]())
        for (number, mark) in marks.sorted(by: { $0.1.lowerBound > $1.1.lowerBound }) {
            let before = cause[..<mark.lowerBound]
            guard before.hasSuffix("; ") || before.hasSuffix(": ") else { continue }
            reasons[number] = String(rest[mark.upperBound...])
            rest = before.dropLast(2)
        }
        return (String(rest), reasons)
    }

    /// The most characters of a line that is left as it is.
    private static let longestLine = 160

    private static func broken(_ line: String) -> [String] {
        guard line.count > longestLine else { return [line] }
        let parts = line.components(separatedBy: "; ")
        return parts.enumerated().map { number, part in
            (number == 0 ? "" : "  ") + part + (number == parts.count - 1 ? "" : ";")
        }
    }
}
