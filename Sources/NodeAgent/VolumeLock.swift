import ControllerCalls
import Glibc

/// One call at a time for a volume, of all processes of this host: CSI has the others answered with ABORTED.
///
/// A program that a call starts inherits the lock: the next call waits for its end, should the agent die.
final class VolumeLock: Sendable {
    let descriptor: Int32

    /// Throws `aborted` where another call, or a program that one has started, is at work on the volume.
    init(_ volume: VolumeID, in folder: String) throws(NodeError) {
        try Self.make(folder)
        let path = "\(folder)/\(volume).lock"
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw HostPath.failure("open", path) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            throw NodeError(
                .aborted,
                "another call for the volume \(volume) is under way, or a program that it has started: try again later")
        }
    }

    deinit { close(descriptor) }

    /// Makes a folder of the agent, and those above it.
    static func make(_ folder: String) throws(NodeError) {
        var path = ""
        for part in folder.split(separator: "/") {
            path += "/\(part)"
            guard mkdir(path, path == folder ? 0o700 : 0o755) == 0 || errno == EEXIST else {
                throw HostPath.failure("mkdir", path)
            }
        }
    }
}

/// One call at a time for a path of this host, of all processes: those for two volumes would mount one over the other.
final class PathLock: Sendable {
    private let descriptor: Int32

    /// Throws `aborted` where another call is at work at the path.
    ///
    /// - Parameter path: as the kernel writes it.
    init(_ path: String, in folder: String) throws(NodeError) {
        try VolumeLock.make(folder)
        // Two paths of one number exclude each other, which does no harm.
        let number = path.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        let file = "\(folder)/\(String(number, radix: 16)).path"
        descriptor = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw HostPath.failure("open", file) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            throw NodeError(.aborted, "another call for the path \(path) is under way: try again later")
        }
    }

    deinit { close(descriptor) }
}
