import Base
import Glibc

/// All bytes of a file, files of the kernel among them: those have no size, and come in pieces that are shorter than was asked for.
public enum FileContents {
    /// The contents of a file; `nil` if there is none.
    ///
    /// - Parameter isOwn: a daemon has written it, and believes it: then nobody else may be able to change it (`TrustedPath`).
    public static func read(_ path: String, isOwn: Bool = false) throws(TercetError) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            // Only this says that there is none. A folder that cannot be searched or read says nothing.
            if errno == ENOENT { return nil }
            throw DurableFile.failure("open", path)
        }
        defer { close(descriptor) }
        if isOwn { try TrustedPath.check(descriptor: descriptor, path, isOwn: true) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count == 0 { return bytes }
            if count > 0 {
                bytes += buffer[..<count]
            } else if errno != EINTR {
                throw DurableFile.failure("read", path)
            }
        }
    }
}
