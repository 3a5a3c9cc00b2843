import Base
import Glibc

/// Files and folders that a daemon believes: others than its own user and root must not be able to change them.
public enum TrustedPath {
    /// Checks a file or a folder; one that is not there passes.
    ///
    /// - Parameter isOwn: it is the daemon's own, so that it has to belong to its user or to root.
    /// - Throws: `notPermitted` where anybody may write to it, or another user owns it.
    public static func check(_ path: String, isOwn: Bool = false) throws(TercetError) {
        var status = stat()
        guard stat(path, &status) == 0 else { return }
        try check(status, path, isOwn: isOwn)
    }

    /// Checks what is open.
    public static func check(descriptor: Int32, _ path: String, isOwn: Bool = false) throws(TercetError) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw DurableFile.failure("stat", path) }
        try check(status, path, isOwn: isOwn)
    }

    private static func check(_ status: stat, _ path: String, isOwn: Bool) throws(TercetError) {
        // Terminals, pipes and the like are whoever's they are: only what lies there for others to change is looked at.
        guard [S_IFREG, S_IFDIR].contains(status.st_mode & S_IFMT) else { return }
        // Such a folder, as /tmp, is meant for everybody: its mode is not to be changed.
        guard status.st_mode & (S_IFMT | S_ISVTX | 0o002) != S_IFDIR | S_ISVTX | 0o002 else {
            throw TercetError(.notPermitted, "\(path): is a folder that all users share; name one of this daemon's own")
        }
        guard status.st_mode & 0o002 == 0 else {
            throw TercetError(.notPermitted, "\(path): anybody may write to it; take that away with chmod o-w \(path)")
        }
        guard !isOwn || status.st_uid == geteuid() || status.st_uid == 0 else {
            throw TercetError(
                .notPermitted,
                "\(path): belongs to user \(status.st_uid); allowed: this daemon's user (\(geteuid())), or root")
        }
    }
}
