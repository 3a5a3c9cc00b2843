import Base
import CLinux
import Glibc

/// Keys in files of their own, which nobody but their owner and its group may read.
extension AuthenticationKey {
    private static let longestFile = 256

    /// Reads a key: the first line of a file.
    ///
    /// - Throws: if the file is no such file, is not this user's or root's, or others may read or change it.
    public init(contentsOf path: String) throws(TercetError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
        guard descriptor >= 0 else { throw Self.problem(path) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Self.problem(path) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw TercetError(.invalid, "\(path): is no regular file") }
        guard status.st_uid == geteuid() || status.st_uid == 0 else {
            throw TercetError(
                .notPermitted, "\(path): belongs to user \(status.st_uid); allowed: this user's, or root's")
        }
        guard status.st_mode & 0o027 == 0 else {
            throw TercetError(
                .notPermitted,
                "\(path): others than its owner may read or change it; allowed: chmod 600 or 640 \(path)")
        }
        var count = 0
        let bytes = try Secret(byteCount: Self.longestFile) { memory throws(TercetError) in
            while count < memory.count {
                let part = read(descriptor, memory.baseAddress! + count, memory.count - count)
                if part < 0, errno == EINTR { continue }
                guard part >= 0 else { throw Self.problem(path) }
                if part == 0 { return }
                count += part
            }
        }
        let text = bytes.withBytes { bytes in
            String(decoding: bytes[..<count].split(separator: UInt8(ascii: "\n")).first ?? [], as: UTF8.self)
        }
        do throws(TercetError) { try self.init(parsing: text) } catch {
            throw TercetError(error.code, "\(path): \(error)")
        }
    }

    private static func problem(_ path: String) -> TercetError {
        let code = errno
        return TercetError(call: path, errno: code, reason: String(cString: strerror(code)))
    }
}
