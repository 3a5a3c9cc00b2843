import Base
import Glibc

/// A file with keys in it: its owner's alone from the beginning, and never in place of another.
enum SecretFile {
    /// Writes a file, and has it on the disk. Nothing is left of one that cannot be written whole.
    ///
    /// - Throws: the reason, with the path, if the file is there or cannot be written.
    static func create(_ path: String, _ text: String) throws(TercetError) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            guard errno == EEXIST else { throw failure(path) }
            throw TercetError(.exists, "\(path): is there already: name another file, or remove it")
        }
        defer { close(descriptor) }
        do throws(TercetError) {
            var rest = Array(text.utf8)[...]
            while !rest.isEmpty {
                let written = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
                guard written > 0 else { throw failure(path) }
                rest = rest.dropFirst(written)
            }
            guard fsync(descriptor) == 0 else { throw failure(path) }
        } catch {
            unlink(path)
            throw error
        }
    }

    private static func failure(_ path: String) -> TercetError {
        let number = errno
        return TercetError(call: path, errno: number, reason: "cannot be written: " + String(cString: strerror(number)))
    }
}
