import Base
import CLinux
import Glibc

/// The devices of the system's NBD client, as it tells of them.
public enum KernelDevice {
    /// The path of a device.
    public static func path(_ index: Int32) -> String { "/dev/nbd\(index)" }

    /// The device that a backend is behind; `nil` where there is none (`/sys/block/nbdN/backend`; Linux 5.14).
    public static func find(backend: String) -> Int32? {
        guard let folder = opendir("/sys/block") else { return nil }
        defer { closedir(folder) }
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard name.hasPrefix("nbd"), let index = Int32(name.dropFirst(3)), self.backend(of: index) == backend else {
                continue
            }
            return index
        }
        return nil
    }

    /// The backend of a device; `nil` where it has none.
    public static func backend(of index: Int32) -> String? {
        let descriptor = open("/sys/block/nbd\(index)/backend", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = read(descriptor, &bytes, bytes.count)
        guard count > 0 else { return nil }
        return String(decoding: bytes[..<count].prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    }

    /// Whether somebody has it mounted, or open for himself alone. Blocks: the first to open a device has its partitions looked for.
    public static func isInUse(_ path: String) -> Bool {
        let descriptor = open(path, O_RDONLY | O_EXCL | O_CLOEXEC)
        if descriptor >= 0 { close(descriptor) }
        return descriptor < 0 && errno == EBUSY
    }

    /// Two ends of a connection: one for the kernel, and one, which does not block, for a server.
    public static func connection() throws(TercetError) -> (kernel: Int32, server: Int32) {
        var ends: [Int32] = [-1, -1]
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
            throw TercetError(call: "socketpair", errno: errno, reason: String(cString: strerror(errno)))
        }
        for end in ends {
            // Room for requests of a megabyte and more, where the system lets us.
            var bytes: Int32 = 4 << 20
            let size = socklen_t(MemoryLayout<Int32>.size)
            if setsockopt(end, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, size) != 0 {
                setsockopt(end, SOL_SOCKET, SO_SNDBUF, &bytes, size)
            }
        }
        let problem = tercet_set_nonblocking(ends[1])
        guard problem == 0 else {
            close(ends[0])
            close(ends[1])
            throw TercetError(call: "fcntl", errno: problem, reason: String(cString: strerror(problem)))
        }
        return (ends[0], ends[1])
    }

    /// Declares the calling thread one that block devices of this machine wait for: it is given memory without waiting for them
    /// (prctl, PR_SET_IO_FLUSHER; Linux 5.6). Returns whether that could be done.
    public static func serveAsBlockDevice() -> Bool { tercet_set_io_flusher() == 0 }
}
