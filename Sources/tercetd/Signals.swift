import CLinux
import Glibc
import Synchronization

/// The signals that a daemon is told things by, as values to wait for.
///
/// A handler passes them on through a pipe. Blocking them in all threads and waiting with `sigtimedwait` would not do: a
/// library that is loaded before `main` may have started threads that do not block them.
struct Signals {
    private let reader: Int32

    init() {
        var ends: (Int32, Int32) = (-1, -1)
        let result = withUnsafeMutableBytes(of: &ends) { bytes in
            pipe2(bytes.assumingMemoryBound(to: Int32.self).baseAddress, O_CLOEXEC | O_NONBLOCK)
        }
        if result != 0 { fatalError("pipe2: \(String(cString: strerror(errno)))") }
        reader = ends.0
        signalWriter.store(ends.1, ordering: .releasing)
        for number in [SIGTERM, SIGINT, SIGHUP, SIGUSR1] {
            signal(number) { number in
                var byte = UInt8(truncatingIfNeeded: number)
                _ = write(signalWriter.load(ordering: .acquiring), &byte, 1)
            }
        }
        // A peer of a log pipe may go away at any time.
        signal(SIGPIPE, SIG_IGN)
    }

    /// The next signal, or `nil` after `seconds` without one.
    func wait(seconds: Int) -> Int32? {
        var event = pollfd(fd: reader, events: Int16(POLLIN), revents: 0)
        guard poll(&event, 1, Int32(seconds * 1000)) > 0 else { return nil }
        var byte: UInt8 = 0
        return read(reader, &byte, 1) == 1 ? Int32(byte) : nil
    }
}

/// The pipe's end that the handler writes to.
private let signalWriter = Atomic<Int32>(-1)
