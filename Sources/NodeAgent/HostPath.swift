import ControllerCalls
import Foundation
import Glibc

/// Paths of this host that a caller has named.
enum HostPath {
    /// Checks a path as such, and returns it as the kernel's table of mounts writes it: what lies on the way to it is resolved.
    ///
    /// - Parameter name: what the path is, for messages.
    static func resolve(_ path: String, _ name: String) throws(NodeError) -> String {
        guard let resolved = try resolveIfThere(path, name) else {
            throw NodeError(
                .failedPrecondition, "the folder in which the \(name) \(path) is to be is not there: make it first")
        }
        return resolved
    }

    /// The same; `nil` where the folder in which it would be is not there.
    static func resolveIfThere(_ path: String, _ name: String) throws(NodeError) -> String? {
        guard !path.isEmpty else { throw NodeError(.invalidArgument, "the \(name) is missing") }
        let parts = path.split(separator: "/").filter { $0 != "." }
        guard path.hasPrefix("/"), let last = parts.last, !parts.contains(".."), path.utf8.count < 4096,
            !path.utf8.contains(0)
        else {
            throw NodeError(
                .invalidArgument, "the \(name) \(path.prefix(200)) is not an absolute path without \"..\"")
        }
        let parent = "/" + parts.dropLast().joined(separator: "/")
        guard let resolved = realpath(parent, nil) else { return nil }
        defer { free(resolved) }
        let folder = String(cString: resolved)
        return folder == "/" ? "/\(last)" : "\(folder)/\(last)"
    }

    static func parent(of path: String) -> String {
        let end = path.lastIndex(of: "/") ?? path.startIndex
        return end == path.startIndex ? "/" : String(path[..<end])
    }

    static func name(of path: String) -> String { path.split(separator: "/").last.map(String.init) ?? path }

    /// The kind of thing at a path.
    enum Kind { case nothing, folder, file, blockDevice, other, corrupted }

    /// - Returns: `corrupted` for a mount whose device or server has gone.
    static func kind(_ path: String) -> Kind {
        var state = stat()
        guard lstat(path, &state) == 0 else {
            return errno == ENOENT || errno == ENOTDIR ? .nothing : .corrupted
        }
        switch state.st_mode & S_IFMT {
        case S_IFDIR: return .folder
        case S_IFREG: return .file
        case S_IFBLK: return .blockDevice
        default: return .other
        }
    }

    /// Whether a folder has nothing in it, or a file no bytes.
    static func isEmpty(_ path: String) -> Bool {
        if let names = try? FileManager.default.contentsOfDirectory(atPath: path) { return names.isEmpty }
        var state = stat()
        return lstat(path, &state) == 0 && state.st_size == 0
    }

    /// The number of a block device; `nil` where the path is none.
    static func deviceNumber(_ path: String) -> DeviceNumber? {
        var state = stat()
        guard stat(path, &state) == 0, state.st_mode & S_IFMT == S_IFBLK else { return nil }
        return DeviceNumber(state.st_rdev)
    }

    /// A system call on a path has failed just now.
    static func failure(_ call: String, _ path: String) -> NodeError {
        let code = errno
        let text = String(cString: strerror(code))
        return NodeError(code == ENOENT ? .notFound : .internal, "\(call) \(path): \(text)")
    }
}

/// A block device, as the kernel numbers it. It is another device's when that one has come in its place.
struct DeviceNumber: Codable, Equatable, Sendable {
    var major: UInt32
    var minor: UInt32

    init(major: UInt32, minor: UInt32) {
        self.major = major
        self.minor = minor
    }

    /// The number as stat(2) tells it (makedev(3)).
    init(_ number: dev_t) {
        major = UInt32(truncatingIfNeeded: number >> 8 & 0xFFF | number >> 32 & ~0xFFF)
        minor = UInt32(truncatingIfNeeded: number & 0xFF | number >> 12 & ~0xFF)
    }
}
