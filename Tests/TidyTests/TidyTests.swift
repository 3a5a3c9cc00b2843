import Foundation
import Testing

/// The rules of `Sources/STYLE.md` that a program can check, on the whole tree.
@Suite struct TidyTests {
    /// Fails with each finding that no exception allows, and where an exception is no longer needed.
    private func expectNone(
        _ findings: [Finding], but allowed: [String: String] = [:], key: (Finding) -> String = { $0.path }
    ) {
        for finding in findings where allowed[key(finding)] == nil { Issue.record("\(finding)") }
        let needed = Set(findings.map(key))
        for name in allowed.keys.sorted() where !needed.contains(name) {
            Issue.record("the exception for \(name) is no longer needed: remove it")
        }
    }

    /// Fails where a folder has more findings than its limit.
    private func expectWithin(_ findings: [Finding], _ limits: [String: Int]) {
        let folders = Dictionary(grouping: findings) { $0.path.split(separator: "/").prefix(2).joined(separator: "/") }
        for (folder, found) in folders.sorted(by: { $0.key < $1.key }) where found.count > limits[folder] ?? 0 {
            let places = found.map { "    \($0)" }.joined(separator: "\n")
            Issue.record("\(folder): \(found.count) where \(limits[folder] ?? 0) are allowed\n\(places)")
        }
    }

    @Test func dependenciesAreDeclaredAndUsed() {
        let manifest = Manifest(Project.read("Package.swift").text)
        #expect(manifest.targets.count > 40, "the manifest is not understood")
        var findings: [Finding] = []
        for target in manifest.targets {
            let sources = Project.swift.filter { $0.file.path.hasPrefix(target.folder + "/") }
            guard !sources.isEmpty else { continue }
            let imports = sources.reduce(into: Set<String>()) { $0.formUnion(ImportRule.imports($1.text)) }
            findings += ImportRule.findings(target, imports: imports)
        }
        for finding in findings where Exceptions.dependencies[finding.text] == nil { Issue.record("\(finding)") }
    }

    @Test func arrowsGoDown() {
        let targets = Manifest(Project.read("Package.swift").text).targets.filter { $0.folder.hasPrefix("Sources/") }
        let levels = Dictionary(
            uniqueKeysWithValues: Layers.all.enumerated().flatMap { level, rooms in rooms.map { ($0, level) } })
        for target in targets {
            guard let level = levels[target.name] else {
                Issue.record(
                    "\(target.name) is in no layer: add it in Layers.swift, and to the map in Sources/ARCHITECTURE.md")
                continue
            }
            for dependency in target.dependencies {
                if let below = levels[dependency] {
                    #expect(below < level, "\(target.name) imports \(dependency), which is not below it")
                }
            }
        }
        let names = Set(targets.map(\.name))
        for room in levels.keys.sorted() { #expect(names.contains(room), "there is no room \(room)") }
    }

    @Test func everyRoomIsOnTheMap() {
        let map = Project.read("Sources/ARCHITECTURE.md").text
        for name in Project.names("Sources") where !name.contains(".") {
            #expect(map.contains(name), "Sources/\(name) is not in Sources/ARCHITECTURE.md")
        }
    }

    @Test func functionsAreShort() {
        let findings = Project.swift.flatMap { CodeRules.longFunctions($0.file.path, $0.text, limit: 70) }
        expectNone(findings, but: Exceptions.longFunctions) { finding in
            "\(finding.path) \(finding.text.components(separatedBy: " has ")[0])"
        }
    }

    @Test func filesAreShort() {
        let findings = Project.swift.compactMap { source in
            let count = source.file.lines.count - 1
            return count < 400
                ? nil : Finding(path: source.file.path, line: count, text: "fewer than 400 lines are allowed")
        }
        expectNone(findings, but: Exceptions.longFiles)
    }

    @Test func namesSaySomething() {
        expectNone(Project.swift.flatMap { CodeRules.names($0.file.path, $0.text) })
    }

    @Test func filesAreWrittenWithCare() {
        let sources = Project.swift.filter { $0.file.path.hasPrefix("Sources/") }
        #expect(!sources.isEmpty)
        expectNone(sources.flatMap { CodeRules.carelessWrites($0.file.path, $0.text) })
    }

    @Test func numbersOfTimeNameTheirUnits() {
        expectWithin(Project.swift.flatMap { CodeRules.numbersWithoutUnits($0.file.path, $0.text) }, Exceptions.units)
    }

    @Test func uncheckedSendableHasItsReasonBesideIt() {
        expectWithin(
            Project.swift.flatMap { CodeRules.uncheckedWithoutReason($0.file.path, $0.text) }, Exceptions.unchecked)
    }

    @Test func commentsOpenWithTheirSubject() {
        expectWithin(Project.swift.flatMap { CommentRules.openings($0.file.path, $0.text) }, Exceptions.openings)
    }

    @Test func linksLeadSomewhere() {
        #expect(Project.documents.count >= 3)
        for document in Project.documents {
            let findings = DocumentRules.deadLinks(document, exists: Project.exists) {
                DocumentRules.anchors(Project.read($0).text)
            }
            for finding in findings { Issue.record("\(finding)") }
        }
    }

    @Test func theRootHoldsNothingElse() {
        let known: Set<String> = [
            ".build", ".ci", ".git", ".gitignore", ".swift-format", "Deploy", "LICENSE", "Package.resolved",
            "Package.swift", "README.md", "Sources", "Tests", "Tools", "findings",
        ]
        // A folder without a file is none of the project's: a program that runs here has made it.
        for name in Project.names("") where !known.contains(name) && !Project.isEmptyFolder(name) {
            Issue.record(
                "\(name): a new entry of the root is a new part of the project; name it here and in the README")
        }
    }
}
