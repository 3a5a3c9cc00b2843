import Base
import CLinux
import Glibc

/// A random UUID that is kept beside a file's data, in its extended attribute `user.tercet.identity`, and the file's inode:
/// a copy that took the attribute along is another file nevertheless.
public struct BackingMark: Equatable, Sendable {
    public var uuid: UUIDBytes
    public var inode: UInt64

    public init(uuid: UUIDBytes, inode: UInt64) {
        self.uuid = uuid
        self.inode = inode
    }

    private static let attribute = "user.tercet.identity"

    /// Reads a regular file's mark, or makes it; `nil` where that cannot be: devices and some file systems have no such
    /// attributes, and not every file may be written.
    public init?(path: String) {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
        inode = UInt64(status.st_ino)
        if let uuid = Self.read(path) {
            self.uuid = uuid
            return
        }
        // Made only where there is none: of two daemons that come at the same time one makes it, and both read it.
        let made = UUIDBytes.random().bytes
        _ = setxattr(path, Self.attribute, made, made.count, Int32(XATTR_CREATE))
        guard let uuid = Self.read(path) else { return nil }
        self.uuid = uuid
    }

    private static func read(_ path: String) -> UUIDBytes? {
        var bytes = [UInt8](repeating: 0, count: UUIDBytes.byteCount)
        guard getxattr(path, attribute, &bytes, bytes.count) == bytes.count else { return nil }
        let uuid = UUIDBytes(bytes: bytes)
        return uuid?.isZero == false ? uuid : nil
    }
}
