import Foundation

/// The targets of a package manifest, as far as the rules need them.
struct Manifest {
    struct Target: Equatable {
        var name: String
        var folder: String
        var dependencies: [String]
    }

    let targets: [Target]

    /// Finds calls of `room`, `tests`, `.target`, `.executableTarget`, `.testTarget` and `.systemLibrary` with a literal name.
    init(_ source: String) {
        let text = Self.withoutConstants(Self.withoutComments(source))
        let call =
            /(?<form>room|tests|\.target|\.executableTarget|\.testTarget|\.systemLibrary)\(\s*(name:\s*)?"(?<name>[^"]+)"/
        targets = text.matches(of: call).compactMap { match in
            let form = match.output.form
            let name = String(match.output.name)
            let rest = Self.arguments(text[match.range.lowerBound...])
            let path = rest.firstMatch(of: /path:\s*"([^"]+)"/).map { String($0.output.1) }
            let isTest = form == "tests" || form == ".testTarget"
            return Target(
                name: name, folder: path ?? (isTest ? "Tests/" : "Sources/") + name,
                dependencies: Self.dependencies(rest))
        }
    }

    /// From the first parenthesis to the one that closes it.
    private static func arguments(_ text: Substring) -> Substring {
        var depth = 0
        for index in text.indices {
            if text[index] == "(" { depth += 1 }
            if text[index] == ")" {
                depth -= 1
                if depth == 0 { return text[...index] }
            }
        }
        return text
    }

    /// The names in the first list; of a product its own name.
    private static func dependencies(_ text: Substring) -> [String] {
        guard let start = text.firstIndex(of: "[") else { return [] }
        var depth = 0
        var end = start
        for index in text[start...].indices {
            if text[index] == "[" { depth += 1 }
            if text[index] == "]" { depth -= 1 }
            end = index
            if depth == 0 { break }
        }
        let list = text[start..<end].replacing(/\.product\(name:\s*"([^"]+)"[^)]*\)/) { "\"\($0.output.1)\"" }
        // `swiftSettings: [...]` of a target without dependencies is no list of them.
        guard !list.contains("unsafeFlags") else { return [] }
        return list.matches(of: /"([^"]+)"/).map { String($0.output.1) }
    }

    /// Puts the products of constants such as `let system: Target.Dependency = .product(name: "SystemPackage", ...)` in their
    /// places.
    private static func withoutConstants(_ source: String) -> String {
        let constant = /let (\w+): Target\.Dependency = \.product\(name: "([^"]+)"[^)]*\)/
        return source.matches(of: constant).reduce(source) { text, match in
            text.replacingOccurrences(
                of: "([\\[ ])\(match.output.1)(?=[,\\]])", with: "$1\"\(match.output.2)\"", options: .regularExpression)
        }
    }

    private static func withoutComments(_ source: String) -> String {
        source.split(separator: "\n", omittingEmptySubsequences: false)
            .filter { !$0.drop { $0 == " " }.hasPrefix("//") }.joined(separator: "\n")
    }
}

enum ImportRule {
    /// Modules that come with the toolchain.
    static let toolchain: Set<String> = ["Dispatch", "Foundation", "Glibc", "Swift", "Synchronization", "Testing"]

    /// The modules that a source imports, without the toolchain's.
    static func imports(_ text: SwiftText) -> Set<String> {
        let statement =
            /^\s*(@\w+(\([^)]*\))?\s+)*((public|package|internal|private|fileprivate)\s+)?import\s+((struct|class|enum|func|var|protocol|typealias)\s+)?(?<module>\w+)/
        let modules = text.code.filter { $0.has("import ") }.compactMap {
            $0.firstMatch(of: statement).map { String($0.output.module) }
        }
        return Set(modules).subtracting(toolchain)
    }

    /// Dependencies that a target declares and does not import, or imports and does not declare.
    static func findings(_ target: Manifest.Target, imports: Set<String>) -> [Finding] {
        let declared = Set(target.dependencies)
        let unused = declared.subtracting(imports).sorted().map { "\(target.name) declares \($0) and never imports it" }
        let missing = imports.subtracting(declared).sorted().map {
            "\(target.name) imports \($0) and does not declare it"
        }
        return (unused + missing).map { Finding(path: "Package.swift", line: 0, text: $0) }
    }
}
