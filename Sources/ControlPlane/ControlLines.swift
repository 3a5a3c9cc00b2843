import Base
import Glibc

/// Reads lines from a descriptor that blocks.
package struct LineReader {
    private let descriptor: Int32
    private var bytes: [UInt8] = []
    /// The last line was longer than a request may be.
    package private(set) var isTooLong = false

    package init(_ descriptor: Int32) { self.descriptor = descriptor }

    /// The next line without its end; `nil` if there is none, or it is too long.
    ///
    /// - Parameter patienceSeconds: how long the rest of a line is waited for that has begun; for ever where not given. The first
    ///   byte of a line is always waited for.
    package mutating func next(patienceSeconds: Int? = nil) -> [UInt8]? {
        var looked = 0
        var deadline: MonotonicTime?
        while true {
            if let end = bytes[looked...].firstIndex(of: UInt8(ascii: "\n")) {
                let line = Array(bytes[..<end])
                bytes.removeFirst(end + 1)
                return line
            }
            looked = bytes.count
            guard bytes.count <= ControlServer.longestLine else {
                isTooLong = true
                return nil
            }
            if let patienceSeconds, !bytes.isEmpty {
                let end = deadline ?? MonotonicTime.now().advanced(byMilliseconds: UInt64(patienceSeconds) * 1000)
                deadline = end
                let now = MonotonicTime.now()
                guard now < end else { return nil }
                var event = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
                let milliseconds = end.nanoseconds(since: now) / 1_000_000 + 1
                guard poll(&event, 1, Int32(clamping: milliseconds)) > 0 else { continue }
            }
            guard fill() else { return nil }
        }
    }

    /// Waits for bytes; `false` if none come any more.
    private mutating func fill() -> Bool {
        var part = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = read(descriptor, &part, part.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return false }
            bytes += part[..<count]
            return true
        }
    }
}

/// Writes all bytes to a descriptor that blocks; `false` if nobody reads them.
func writeAll(_ descriptor: Int32, _ bytes: [UInt8]) -> Bool {
    var written = 0
    while written < bytes.count {
        let count = bytes[written...].withUnsafeBytes {
            send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        }
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { return false }
        written += count
    }
    return true
}
