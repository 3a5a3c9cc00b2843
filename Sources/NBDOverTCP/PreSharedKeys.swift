import Base
import Glibc

/// Keys that a server and its clients both know, by the clients' user names.
///
/// The file has a line `NAME:KEY` for each, the key in hexadecimal digits: the form of GnuTLS's psktool(1), which qemu, nbdkit and
/// libnbd read. No error text tells anything of a key.
public struct PreSharedKeys: Sendable {
    private let keys: [[UInt8]: [UInt8]]

    /// A key that is shorter could be guessed; bytes.
    private static let shortestKey = 16
    private static let longestKey = 256
    private static let longestName = 128
    private static let longestFile = 1 << 20

    /// Reads a file, which nobody but its owner and its group may read.
    public init(contentsOf path: String) throws(TercetError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
        guard descriptor >= 0 else { throw Self.problem("\(path): cannot be opened") }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Self.problem("\(path): cannot be looked at") }
        guard status.st_mode & S_IFMT == S_IFREG else { throw TercetError(.invalid, "\(path): is no regular file") }
        guard status.st_mode & 0o027 == 0 else {
            throw TercetError(
                .notPermitted,
                "\(path): others than its owner may read or change the keys; allowed: chmod 600 or 640 \(path)")
        }
        guard status.st_size <= Self.longestFile else { throw TercetError(.invalid, "\(path): is longer than 1 MiB") }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        var count = 0
        while count < bytes.count {
            let part = bytes[count...].withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
            if part < 0, errno == EINTR { continue }
            guard part >= 0 else { throw Self.problem("\(path): cannot be read") }
            if part == 0 { break }
            count += part
        }
        try self.init(parsing: bytes[..<count], file: path)
    }

    /// - Parameter file: the name that errors carry.
    init(parsing bytes: ArraySlice<UInt8>, file: String) throws(TercetError) {
        var keys: [[UInt8]: [UInt8]] = [:]
        for (number, line) in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated()
        {
            let line = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
            if line.isEmpty { continue }
            let place = "\(file), line \(number + 1)"
            guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else {
                throw TercetError(.invalid, "\(place): no colon; allowed: NAME:KEY, as psktool writes it")
            }
            let name = Array(line[..<colon])
            guard (1...Self.longestName).contains(name.count), name.first != UInt8(ascii: "#"), !name.contains(0) else {
                throw TercetError(
                    .invalid,
                    "\(place): no user name; allowed: 1 to \(Self.longestName) bytes that do not begin with #")
            }
            guard let key = Self.key(line[(colon + 1)...]), (Self.shortestKey...Self.longestKey).contains(key.count)
            else {
                throw TercetError(
                    .invalid,
                    "\(place): no key; allowed: hexadecimal digits, two for each of \(Self.shortestKey) to "
                        + "\(Self.longestKey) bytes")
            }
            guard keys.updateValue(key, forKey: name) == nil else {
                throw TercetError(.invalid, "\(place): the user name is there twice; allowed: once")
            }
        }
        guard !keys.isEmpty else {
            throw TercetError(.invalid, "\(file): no key is in it; psktool -u NAME -p \(file) adds one")
        }
        self.keys = keys
    }

    /// The key of a user; `nil` for one that is not known.
    func key(of name: UnsafePointer<CChar>) -> [UInt8]? {
        keys[Array(UnsafeRawBufferPointer(start: name, count: strlen(name)))]
    }

    private static func key(_ text: ArraySlice<UInt8>) -> [UInt8]? {
        guard text.count % 2 == 0 else { return nil }
        var key: [UInt8] = []
        var place = text.startIndex
        while place < text.endIndex {
            guard let high = digit(text[place]), let low = digit(text[place + 1]) else { return nil }
            key.append(high << 4 | low)
            place += 2
        }
        return key
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    private static func problem(_ text: String) -> TercetError {
        TercetError(.init(errno: errno), "\(text): \(String(cString: strerror(errno)))")
    }
}
