import Base

/// Reads one file of connections, line by line: sections in brackets, keys and values, and lines that begin with #. A # further on
/// is part of a value. Keys that nobody knows are left alone: later versions of nvme-cli have more.
struct FabricsFileReader {
    private enum Section: Equatable {
        case none, host, subsystem, other
    }

    /// A section that names a subsystem.
    private struct Subsystem {
        var nqn: String?
        var line: Int
        var paths: [FabricsConfiguration.Path] = []
    }

    private let file: String
    private var line = 0
    private var section = Section.none
    private var hasHost = false
    private var hostNQN: String?
    private var subsystems: [Subsystem] = []

    init(file: String) { self.file = file }

    /// Takes the next line.
    mutating func take(_ text: Substring) throws(TercetError) {
        line += 1
        let text = Self.trimmed(text)
        guard let first = text.first, first != "#" else { return }
        if first == "[" {
            guard text.last == "]", text.count > 2 else { throw problem("\(text) is no section") }
            return try begin(Self.trimmed(text.dropFirst().dropLast()))
        }
        guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
            throw problem("\"\(text)\" is neither a section nor KEY = VALUE")
        }
        let (key, value) = (Self.trimmed(text[..<equals]), Self.trimmed(text[text.index(after: equals)...]))
        switch (section, key) {
        case (.none, _): throw problem("\"\(key)\" is in no section")
        case (.host, "hostnqn") where !value.isEmpty: hostNQN = String(value)
        case (.subsystem, "nqn") where value.isEmpty: throw problem("the subsystem has no name")
        case (.subsystem, "nqn"): subsystems[subsystems.count - 1].nqn = String(value)
        case (.subsystem, "controller"): subsystems[subsystems.count - 1].paths.append(try path(value))
        default: return
        }
    }

    /// The name of the host in this file, and the paths to subsystems.
    ///
    /// - Parameter isMain: false for a file of the folder: a host that is named there is another one than the usual.
    func end(
        isMain: Bool
    ) throws(TercetError) -> (hostNQN: String?, paths: [(nqn: String, path: FabricsConfiguration.Path)]) {
        if hasHost, hostNQN == nil, !isMain {
            throw TercetError(.invalid, "\(file): its [Host] has no hostnqn")
        }
        var all: [(nqn: String, path: FabricsConfiguration.Path)] = []
        for subsystem in subsystems {
            guard let nqn = subsystem.nqn else {
                throw TercetError(.invalid, "\(file), line \(subsystem.line): the subsystem has no nqn")
            }
            all += subsystem.paths.map { (nqn, $0) }
        }
        return (hostNQN, all)
    }

    private mutating func begin(_ name: Substring) throws(TercetError) {
        switch name {
        case "Host":
            guard !hasHost else { throw problem("a file has one [Host]") }
            hasHost = true
            section = .host
        case "Subsystem":
            subsystems.append(Subsystem(line: line))
            section = .subsystem
        default: section = .other
        }
    }

    /// A path: KEY=VALUE, with semicolons between.
    private func path(_ text: Substring) throws(TercetError) -> FabricsConfiguration.Path {
        var values: [Substring: String] = [:]
        for part in text.split(separator: ";") {
            guard let equals = part.firstIndex(of: "=") else { throw problem("\"\(part)\" is not KEY=VALUE") }
            values[Self.trimmed(part[..<equals])] = String(Self.trimmed(part[part.index(after: equals)...]))
        }
        guard let transport = values["transport"], let address = values["traddr"], !transport.isEmpty, !address.isEmpty
        else { throw problem("a controller needs transport= and traddr=") }
        return FabricsConfiguration.Path(
            transport: transport, address: address, service: values["trsvcid"].flatMap { $0.isEmpty ? nil : $0 },
            place: "\(file), line \(line)")
    }

    private func problem(_ text: String) -> TercetError { TercetError(.invalid, "\(file), line \(line): \(text)") }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text
        while let first = text.first, first.isWhitespace { text.removeFirst() }
        while let last = text.last, last.isWhitespace { text.removeLast() }
        return text
    }
}
