import Base
import DurableFiles
import Glibc
import TargetConfiguration

/// A configuration as it is written in a file or on a command line, and what it says.
struct WrittenConfiguration: Sendable {
    /// The file that it is read from; `nil` for a command line.
    let file: String?
    /// The file's text when it was last read or written.
    private var text = ""
    /// The file says what `document` says.
    private(set) var isSaved = true
    private(set) var document: ConfigurationDocument
    private(set) var configuration: Configuration

    init(file: String) throws(TercetError) {
        self.file = file
        text = try Element.text(of: file)
        // Errors name the place in the file.
        configuration = try Configuration(parsing: text, file: file)
        document = try ConfigurationDocument(parsing: text, file: file)
    }

    init(commandLine configuration: Configuration) {
        file = nil
        self.configuration = configuration
        document = ConfigurationDocument(commandLine: configuration)
        isSaved = false
    }

    /// The same after the file was changed; that of a command line stays.
    func readAgain() throws(TercetError) -> WrittenConfiguration {
        guard let file else { return self }
        return try WrittenConfiguration(file: file)
    }

    /// The same with a change.
    func changed(
        _ edit: ConfigurationEdit, _ given: ConfigurationValue
    ) throws(TercetError) -> WrittenConfiguration {
        var changed = self
        try edit.apply(given, to: &changed.document)
        changed.configuration = try changed.document.configuration()
        if changed.document != document { changed.isSaved = false }
        return changed
    }

    /// Writes it to its file, or to another one, of which there is the old or the new one at any time. Returns the path.
    mutating func save(to path: String?) throws(TercetError) -> String {
        guard let wanted = path ?? file else {
            throw TercetError(
                .invalid, "there is no configuration file: the daemon was started without --config; give a path")
        }
        guard wanted.hasPrefix("/") || wanted == file else {
            throw TercetError(.invalid, "'\(wanted)': the daemon has a working folder of its own; give a path from /")
        }
        // A link stays, and its file is replaced.
        let target = Self.resolved(wanted)
        var link = stat()
        if target == wanted, lstat(wanted, &link) == 0, link.st_mode & S_IFMT == S_IFLNK {
            throw TercetError(.invalid, "\(wanted): is a link to something that is not there")
        }
        let isOwn = file.map { Self.resolved($0) == target } ?? false
        if isOwn {
            guard document.isJSON else {
                throw TercetError(
                    .unsupported, "\(wanted): is YAML, and its comments would be lost; give another path for JSON")
            }
            guard try Element.text(of: wanted) == text else {
                throw TercetError(
                    .inUse,
                    "\(wanted): has been changed since it was read, and that would be lost; reload it first, or give "
                        + "another path")
            }
        }
        var status = stat()
        let exists = stat(target, &status) == 0
        if exists, status.st_mode & S_IFMT != S_IFREG {
            throw TercetError(.invalid, "\(wanted): is there and no file")
        }
        let folder = String(target[..<(target.lastIndex(of: "/") ?? target.startIndex)])
        let new = document.text
        let mode = exists ? status.st_mode & 0o777 : 0o644
        if let problem = DurableFile.replace(
            target, in: folder.isEmpty ? "/" : folder, with: Array(new.utf8), mode: mode)
        {
            throw TercetError(.failed, "the configuration cannot be saved: \(problem)")
        }
        if isOwn {
            text = new
            isSaved = true
        }
        return target
    }

    private static func resolved(_ path: String) -> String {
        guard let real = realpath(path, nil) else { return path }
        defer { free(real) }
        return String(cString: real)
    }
}
