import Testing

/// The statuses that the target's code names, against its table of where trying again can help.
@Suite struct StatusRuleTests {
    /// The names of NVMeSpec's statuses, with what each stands for: two names may be one status.
    private static let statuses: [String: String] = Project.swift.filter {
        $0.file.path.hasPrefix("Sources/NVMeSpec/Status+")
    }
    .reduce(into: [:]) { found, source in
        for line in source.text.code {
            let parts = line.split(separator: " ")
            guard let variable = parts.firstIndex(of: "var"), parts.count > variable + 3,
                parts[variable + 2] == "Status"
            else { continue }
            found[String(parts[variable + 1].dropLast())] = parts[(variable + 4)...].joined(separator: " ")
        }
    }

    /// Names behind a dot.
    private static func members(_ line: String) -> [String] {
        line.split(separator: ".", omittingEmptySubsequences: false).dropFirst().map { part in
            String(part.prefix { $0.isLetter || $0.isNumber || $0 == "_" })
        }
    }

    @Test func eachRefusalOfTheTargetIsInItsTable() {
        #expect(Self.statuses.count > 100, "the statuses are not understood: \(Self.statuses)")
        let target = Project.swift.filter { $0.file.path.hasPrefix("Sources/NVMeTarget/") }
        var rows: Set<String> = []
        for source in target where source.file.path.hasSuffix("/RetryTable.swift") {
            let lines = source.text.code
            for (index, line) in lines.enumerated() where line.contains("Row(") {
                // A long row begins on the next line.
                let rest = line.hasSuffix("Row(") ? lines[index + 1] : line
                if let name = Self.members(rest).first, let status = Self.statuses[name] { rows.insert(status) }
            }
        }
        #expect(rows.count >= 50, "the table is not understood: \(rows.count) rows")
        for source in target where !source.file.path.hasSuffix("/RetryTable.swift") {
            for (number, line) in source.text.code.enumerated() {
                for name in Self.members(line) where name != "success" {
                    guard let status = Self.statuses[name], !rows.contains(status) else { continue }
                    Issue.record(
                        "\(source.file.path):\(number + 1): .\(name) is not in RetryTable: say there whether trying again helps"
                    )
                }
            }
        }
    }
}
