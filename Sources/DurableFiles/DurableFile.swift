import Base
import Glibc

/// A small file that is replaced as a whole: after a power loss there is the old one or the new one.
public enum DurableFile {
    /// Writes beside the file, makes that durable, renames, and makes the renaming durable; `nil` bytes remove the file, and what a death
    /// has left beside it.
    /// Returns what went wrong.
    ///
    /// - Parameter mode: permissions of the file.
    public static func replace(
        _ path: String, in folder: String, with bytes: [UInt8]?, mode: mode_t = 0o600
    ) -> String? {
        if mkdir(folder, 0o700) != 0 && errno != EEXIST { return problem("mkdir", folder) }
        let new = path + ".new"
        if let bytes {
            let descriptor = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode)
            guard descriptor >= 0 else { return problem("open", new) }
            fchmod(descriptor, mode)
            let written = write(descriptor, bytes, bytes.count)
            let synced = written == bytes.count ? fsync(descriptor) : -1
            let failure = synced == 0 ? nil : problem("write", new)
            close(descriptor)
            if let failure { return failure }
            if rename(new, path) != 0 { return problem("rename", path) }
        } else if unlink(path) != 0 && errno != ENOENT {
            return problem("unlink", path)
        } else if unlink(new) != 0 && errno != ENOENT {
            return problem("unlink", new)
        }
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return problem("open", folder) }
        defer { close(descriptor) }
        return fsync(descriptor) == 0 ? nil : problem("fsync", folder)
    }

    /// A system call that has failed just now.
    public static func failure(_ call: String, _ path: String, _ code: Int32 = errno) -> TercetError {
        TercetError(call: "\(call) \(path)", errno: code, reason: String(cString: strerror(code)))
    }

    private static func problem(_ call: String, _ path: String) -> String { failure(call, path).message }
}
