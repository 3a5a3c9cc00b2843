import Base
import DurableFiles
import Glibc
import SystemPackage
import Yams

extension Element {
    /// The text of a configuration file.
    package static func text(of path: String) throws(TercetError) -> String {
        guard let file = fopen(path, "re") else { throw Self.unreadable(path, errno) }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = fread(&chunk, 1, chunk.count, file)
            bytes += chunk[..<count]
            if bytes.count > 16 << 20 {
                throw TercetError(.invalid, "\(path): is larger than 16M; that is no configuration")
            }
            if count < chunk.count { break }
        }
        if ferror(file) != 0 { throw Self.unreadable(path, errno) }
        try TrustedPath.check(descriptor: fileno(file), path)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw TercetError(.invalid, "\(path): is not UTF-8 text")
        }
        return text
    }

    /// The value that a text is, in JSON. (YAML, of which JSON is a part, is understood as well.)
    ///
    /// - Parameters:
    ///   - file: the name that errors carry.
    ///   - needs: for an error where there is nothing.
    package static func root(of text: String, file: String, needs: String) throws(TercetError) -> Element {
        let root: Node?
        do {
            root = try Yams.compose(yaml: text)
        } catch {
            throw Self.syntaxError(error, file: file)
        }
        guard let root else { throw TercetError(.invalid, "\(file): is empty; \(needs)") }
        return Element(node: root, path: "", file: file)
    }

    private static func unreadable(_ path: String, _ code: Int32) -> TercetError {
        switch code {
        case ENOENT: TercetError(.notFound, "\(path): there is no such file")
        case EACCES: TercetError(.notPermitted, "\(path): no permission to read it")
        case EISDIR: TercetError(.invalid, "\(path): is a directory")
        default: TercetError(call: path, errno: code, reason: "\(Errno(rawValue: code))")
        }
    }

    private static func syntaxError(_ error: any Error, file: String) -> TercetError {
        switch error as? YamlError {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            return Element.error(file, mark, "", "is not JSON: \(problem)")
        case .duplicatedKeysInMapping(let duplicates, let context):
            return Element.error(file, context.mark, duplicates.first ?? "", "this key is there twice; allowed: once")
        case .reader(let problem, _, _, _):
            return TercetError(.invalid, "\(file): is not JSON: \(problem)")
        default:
            return TercetError(.invalid, "\(file): is not JSON")
        }
    }
}

extension Configuration {
    /// Reads a file in JSON. (YAML, of which JSON is a part, is understood as well.)
    public init(contentsOf path: String) throws(TercetError) {
        try self.init(parsing: try Element.text(of: path), file: path)
    }

    /// Reads a configuration's text.
    /// - Parameter file: the name that errors carry.
    public init(parsing text: String, file: String) throws(TercetError) {
        try self.init(Element.root(of: text, file: file, needs: Self.needs))
    }

    static let needs = "listeners and subsystems are needed"

    init(_ root: Element) throws(TercetError) {
        self = try root.configuration()
        if let violation = firstViolation() {
            let mark = Self.places(of: root.node)[violation.path]
            throw Element.error(root.file, mark, violation.path, violation.text)
        }
    }

    /// The place of each value in the file, by its key path.
    private static func places(of node: Node, path: String = "") -> [String: Mark] {
        var places: [String: Mark] = [:]
        places[path] = node.mark
        for (position, value) in (node.sequence.map { Array($0) } ?? []).enumerated() {
            places.merge(Self.places(of: value, path: "\(path)[\(position)]")) { first, _ in first }
        }
        for (key, value) in node.mapping.map({ Array($0) }) ?? [] {
            let name = key.scalar?.string ?? ""
            places.merge(Self.places(of: value, path: path.isEmpty ? name : "\(path).\(name)")) { first, _ in first }
        }
        return places
    }
}
