import Glibc

/// The processes that keep others from writing a database.
///
/// SQLite tells nobody who has a lock, and the kernel does, for each file. The files are not opened for that: all locks that a
/// process has on a file go when it closes any descriptor of it (fcntl(2)).
enum LockHolders {
    /// The first byte of the locks in the shared memory of a database in WAL mode, and their number (SQLite, "WAL-mode File
    /// Format", 2.3.2): write, checkpoint, recover.
    private static let walLocks = 120...122
    /// RESERVED, PENDING and SHARED of other modes (SQLite, `os.h`).
    private static let journalLocks = 0x4000_0000...0x4000_01FF

    /// Processes with a lock for writing, as "process NUMBER (NAME)".
    static func writing(_ path: String) -> [String] {
        let files = [(path + "-shm", walLocks), (path, journalLocks)]
        var found: [String] = []
        for (file, range) in files {
            var status = stat()
            guard stat(file, &status) == 0 else { continue }
            for lock in locks() where lock.isWriting && lock.inode == status.st_ino && lock.range.overlaps(range) {
                guard lock.process != getpid() else { continue }
                let words =
                    lock.process > 0 ? "process \(lock.process)\(name(lock.process))" : "a program in another container"
                if !found.contains(words) { found.append(words) }
            }
        }
        return found
    }

    private struct Lock {
        var isWriting: Bool
        var process: pid_t
        var inode: UInt
        var range: ClosedRange<Int>
    }

    /// Each line: `1: POSIX  ADVISORY  WRITE 1234 fe:01:5678 120 120` (proc(5), `/proc/locks`).
    private static func locks() -> [Lock] {
        text("/proc/locks").split(separator: "\n").compactMap { line in
            let fields = line.split(separator: " ").filter { $0 != "->" }
            guard fields.count >= 8, let process = pid_t(fields[4]),
                let inode = fields[5].split(separator: ":").last.flatMap({ UInt($0) }), let start = Int(fields[6])
            else { return nil }
            let end = Int(fields[7]) ?? .max
            return Lock(isWriting: fields[3] == "WRITE", process: process, inode: inode, range: start...max(start, end))
        }
    }

    private static func name(_ process: pid_t) -> String {
        let name = text("/proc/\(process)/comm").prefix { $0 != "\n" }
        return name.isEmpty ? "" : " (\(name))"
    }

    private static func text(_ path: String) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while case let count = read(descriptor, &buffer, buffer.count), count > 0, bytes.count < 4 << 20 {
            bytes += buffer[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
