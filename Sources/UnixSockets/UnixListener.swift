import Base
import CLinux
import Glibc
import Synchronization

/// A Unix socket that listens: made here, or inherited from a service manager.
///
/// A path is taken under a lock beside it, so that two processes never take it at once. A socket that is there already is
/// connected to: one that answers is left alone, one that nobody serves is removed. At the end the path is removed only if it
/// still names the socket that was made here.
public final class UnixListener: Sendable {
    public let path: String
    /// Does not block.
    public let descriptor: Int32
    /// The path that the socket is bound to, a service manager's too; `nil` where it has none.
    public var boundPath: String? {
        if !path.isEmpty { return path }
        var address = sockaddr_un()
        var length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let named = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        guard named == 0, address.sun_family == sa_family_t(AF_UNIX) else { return nil }
        let name = withUnsafeBytes(of: address.sun_path) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        return name.isEmpty ? nil : name
    }
    /// The lock on the path, for a process that takes the socket over; -1 where there is none.
    public var lockDescriptor: Int32 { lock }
    private let lock: Int32
    /// Ending it twice would remove the socket of the next process, whose file may have the same inode, and close its descriptors.
    private let isOpen = Atomic<Bool>(true)
    private let inode: (device: UInt64, number: UInt64)?
    /// Made here, or handed over for good; not a service manager's.
    public var isOwn: Bool { inode != nil }

    /// The path of a daemon's socket where nothing is said: in the first folder of RUNTIME_DIRECTORY (systemd.exec(5)), or in /run/tercet;
    /// `nil` if that folder is not there, or may not be written.
    public static func runtimePath(_ name: String) -> String? {
        let folders = getenv("RUNTIME_DIRECTORY").map { String(cString: $0) }
        // systemd passes several, separated by colons.
        let folder = folders?.split(separator: ":").first.map(String.init) ?? "/run/tercet"
        return access(folder, W_OK) == 0 ? "\(folder)/\(name)" : nil
    }

    /// Makes a socket at a path.
    ///
    /// - Parameters:
    ///   - mode: who may connect, as the permissions of a file.
    ///   - lockPath: the lock on the path, where nothing else may lie in the socket's folder; beside the socket where it is `nil`.
    public init(path: String, mode: mode_t = 0o660, lockPath: String? = nil) throws(TercetError) {
        self.path = path
        let address = try Self.address(path)
        let lockPath = lockPath ?? path + ".lock"
        lock = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        if lock < 0 { throw Self.problem("its lock \(lockPath) cannot be made", path) }
        var made: Int32 = -1
        do throws(TercetError) {
            guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
                throw TercetError(.inUse, "\(path): another process serves at this socket (its lock is held)")
            }
            try Self.removeStale(path, address)
            made = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
            guard made >= 0 else { throw Self.problem("no socket can be made", path) }
            guard Self.call(address, { bind(made, $0, $1) }) == 0 else { throw Self.problem("cannot be made", path) }
            guard chmod(path, mode) == 0, Glibc.listen(made, SOMAXCONN) == 0 else {
                throw Self.problem("cannot be listened at", path)
            }
        } catch {
            if made >= 0 { Glibc.close(made) }
            Glibc.close(lock)
            throw error
        }
        descriptor = made
        inode = Self.inode(path)
    }

    /// Takes a socket that listens already, from a service manager or a process before this one; whoever made it removes it.
    public init(inherited descriptor: Int32) throws(TercetError) {
        var isListening: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &isListening, &length) == 0, isListening == 1 else {
            throw TercetError(.invalid, "descriptor \(descriptor) is no socket that listens")
        }
        let problem = tercet_set_nonblocking(descriptor)
        guard problem == 0 else { throw TercetError(.init(errno: problem), "descriptor \(descriptor) cannot be used") }
        path = ""
        self.descriptor = descriptor
        lock = -1
        inode = nil
    }

    /// A socket that the process before this one has handed over, with the lock on its path.
    public init(handed descriptor: Int32, lock: Int32, path: String) {
        self.path = path
        self.descriptor = descriptor
        self.lock = lock
        inode = Self.inode(path)
    }

    /// Closes the socket; whoever took it over has it.
    public func leave() {
        guard isOpen.exchange(false, ordering: .acquiringAndReleasing) else { return }
        Glibc.close(descriptor)
        if lock >= 0 { Glibc.close(lock) }
    }

    /// Closes the socket, and removes its path where it is still this one's. A second call does nothing.
    public func close() {
        guard isOpen.exchange(false, ordering: .acquiringAndReleasing) else { return }
        if let inode, let present = Self.inode(path), present == inode { unlink(path) }
        Glibc.close(descriptor)
        if lock >= 0 { Glibc.close(lock) }
    }

    /// The sockets that a service manager has opened for this process, and what it calls them.
    public static func inherited() throws(TercetError) -> [(name: String, listener: UnixListener)] {
        var found: [(name: String, listener: UnixListener)] = []
        for (name, descriptor) in InheritedDescriptors.take() {
            found.append((name, try UnixListener(inherited: descriptor)))
        }
        return found
    }

    /// The user of the process at the other end of a connection (unix(7), SO_PEERCRED); `nil` if that is not known.
    public static func user(ofPeer descriptor: Int32) -> uid_t? {
        // `struct ucred`, which Glibc's module leaves out: process, user, group.
        var peer: (process: Int32, user: UInt32, group: UInt32) = (0, 0, 0)
        var length = socklen_t(MemoryLayout.size(ofValue: peer))
        return getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 ? peer.user : nil
    }

    // MARK: Paths

    /// A connection to whoever serves at a path; it blocks.
    ///
    /// - Parameter patienceSeconds: how long this, and each read and write of the socket, may take; for ever where not given.
    public static func connect(to path: String, patienceSeconds: UInt32? = nil) throws(TercetError) -> Int32 {
        let address = try address(path)
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw problem("no socket can be made", path) }
        if let patienceSeconds {
            var patience = timeval(tv_sec: Int(patienceSeconds), tv_usec: 0)
            for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
                setsockopt(descriptor, SOL_SOCKET, option, &patience, socklen_t(MemoryLayout<timeval>.size))
            }
        }
        guard call(address, { Glibc.connect(descriptor, $0, $1) }) == 0 else {
            // A process that takes up no connections has a full queue of them.
            let problem =
                errno == EAGAIN
                ? TercetError(.timedOut, "\(path): the process that serves at this socket takes up no connections")
                : problem("nobody serves at this socket", path)
            Glibc.close(descriptor)
            throw problem
        }
        return descriptor
    }

    private static func address(_ path: String) throws(TercetError) -> sockaddr_un {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let room = MemoryLayout.size(ofValue: address.sun_path)
        guard !path.isEmpty, path.utf8.count < room, !path.utf8.contains(0) else {
            throw TercetError(.invalid, "'\(path)': the path of a socket has 1 to \(room - 1) bytes")
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        return address
    }

    private static func call(_ address: sockaddr_un, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }

    private static func removeStale(_ path: String, _ address: sockaddr_un) throws(TercetError) {
        var status = stat()
        guard lstat(path, &status) == 0 else {
            if errno == ENOENT { return }
            throw problem("cannot be looked at", path)
        }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw TercetError(.exists, "\(path): is there and no socket; give another path, or remove it")
        }
        let probe = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        defer { if probe >= 0 { Glibc.close(probe) } }
        guard probe < 0 || call(address, { Glibc.connect(probe, $0, $1) }) != 0, errno == ECONNREFUSED else {
            throw TercetError(.inUse, "\(path): another process serves at this socket")
        }
        guard unlink(path) == 0 else { throw problem("is left over and cannot be removed", path) }
    }

    private static func inode(_ path: String) -> (device: UInt64, number: UInt64)? {
        var status = stat()
        return lstat(path, &status) == 0 ? (UInt64(status.st_dev), UInt64(status.st_ino)) : nil
    }

    private static func problem(_ what: String, _ path: String) -> TercetError {
        TercetError(.init(errno: errno), "\(path): \(what): \(String(cString: strerror(errno)))")
    }
}
