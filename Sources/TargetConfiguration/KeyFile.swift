import Base
import CLinux
import Glibc
import NVMeAuthentication
import SystemPackage

/// A file with one key for authentication: nobody but its owner and its group may read it.
enum KeyFile {
    private static let longest = 256

    static func key(at path: String) throws(TercetError) -> AuthenticationKey {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
        guard descriptor >= 0 else { throw problem(path) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw problem(path) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw TercetError(.invalid, "\(path): is no regular file") }
        guard status.st_uid == geteuid() || status.st_uid == 0 else {
            throw TercetError(
                .notPermitted, "\(path): belongs to user \(status.st_uid); allowed: this user's, or root's")
        }
        guard status.st_mode & 0o027 == 0 else {
            throw TercetError(
                .notPermitted, "\(path): others than its owner may read or change it; allowed: chmod 600 or 640 \(path)"
            )
        }
        var count = 0
        let bytes = try Secret(byteCount: longest) { memory throws(TercetError) in
            while count < memory.count {
                let part = read(descriptor, memory.baseAddress! + count, memory.count - count)
                if part < 0, errno == EINTR { continue }
                guard part >= 0 else { throw problem(path) }
                if part == 0 { return }
                count += part
            }
        }
        let text = bytes.withBytes { bytes in
            String(decoding: bytes[..<count].split(separator: UInt8(ascii: "\n")).first ?? [], as: UTF8.self)
        }
        do throws(TercetError) { return try AuthenticationKey(parsing: text) } catch {
            throw TercetError(error.code, "\(path): \(error)")
        }
    }

    /// The path of a credential that systemd has given the process.
    static func path(ofCredential name: String) throws(TercetError) -> String {
        guard !name.isEmpty, !name.contains("/"), name != ".", name != ".." else {
            throw TercetError(.invalid, "'\(name)' is no name of a credential")
        }
        guard let folder = getenv("CREDENTIALS_DIRECTORY") else {
            throw TercetError(
                .notFound, "there is no credential '\(name)': systemd has given none; LoadCredential=\(name):PATH does")
        }
        return "\(String(cString: folder))/\(name)"
    }

    private static func problem(_ path: String) -> TercetError {
        TercetError(call: path, errno: errno, reason: "\(Errno(rawValue: errno))")
    }
}
