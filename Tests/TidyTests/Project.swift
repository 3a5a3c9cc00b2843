import Foundation

/// The tree of the project that this test was compiled from.
enum Project {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// A file of the project.
    struct File: Sendable {
        /// Relative to the root.
        let path: String
        let text: String

        var lines: [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }
    }

    /// Paths of all files below a folder, relative to the root, in order; without what is built.
    static func paths(_ folder: String) -> [String] {
        let base = root.appendingPathComponent(folder)
        guard let walk = FileManager.default.enumerator(atPath: base.path) else { return [] }
        var paths: [String] = []
        for case let path as String in walk {
            let parts = path.split(separator: "/")
            if parts.contains(where: { $0 == "build" || $0 == ".build" || $0 == "__pycache__" }) { continue }
            paths.append("\(folder)/\(path)")
        }
        return paths.sorted()
    }

    static func read(_ path: String) -> File {
        let text = (try? String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)) ?? ""
        return File(path: path, text: text)
    }

    static func exists(_ path: String) -> Bool {
        FileManager.default.fileExists(atPath: root.appendingPathComponent(path).path)
    }

    static func isEmptyFolder(_ path: String) -> Bool {
        var isFolder: ObjCBool = false
        let full = root.appendingPathComponent(path).path
        return FileManager.default.fileExists(atPath: full, isDirectory: &isFolder) && isFolder.boolValue
            && names(path).isEmpty
    }

    static func names(_ folder: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: root.appendingPathComponent(folder).path)) ?? [])
            .sorted()
    }

    /// All Swift files that somebody has written, each with its code and comments apart.
    static let swift: [(file: File, text: SwiftText)] = (paths("Sources") + paths("Tests")).filter {
        $0.hasSuffix(".swift") && !$0.hasPrefix(Exceptions.generated)
    }
    .map { path in
        let file = read(path)
        return (file, SwiftText(file.text))
    }

    static let documents = (["README.md"] + ["Sources", "Tests", "Tools", "Deploy"].flatMap(paths)).filter {
        $0.hasSuffix(".md")
    }.map(read)
}

/// A place that breaks a rule.
struct Finding: Equatable, CustomStringConvertible {
    var path: String
    var line: Int
    var text: String

    var description: String { "\(path):\(line): \(text)" }
}
