import CLinux
import Glibc
import Synchronization

/// The signals that a program is told things by, as values to wait for. A process has one such value.
///
/// A handler passes them on through a pipe. Blocking them in all threads and waiting with `sigtimedwait` would not do: a
/// library that is loaded before `main` may have started threads that do not block them.
public struct Signals: Sendable {
    private let reader: Int32

    /// - Parameter wakers: signals that end waiting and are not told, SIGCHLD perhaps.
    public init(_ told: [Int32] = [SIGTERM, SIGINT, SIGHUP], wakers: [Int32] = []) {
        var ends: [Int32] = [-1, -1]
        if pipe2(&ends, O_CLOEXEC | O_NONBLOCK) != 0 { fatalError("pipe2: \(String(cString: strerror(errno)))") }
        reader = ends[0]
        signalWriter.store(ends[1], ordering: .releasing)
        for number in told { handle(number) { pass($0) } }
        for number in wakers { handle(number) { _ in pass(0) } }
        // A peer of a log pipe may go away at any time.
        signal(SIGPIPE, SIG_IGN)
    }

    private func handle(_ number: Int32, _ handler: @escaping @convention(c) (Int32) -> Void) {
        signal(number, handler)
    }

    /// Waits for so long, or until a signal comes; returns the first that is told. Those behind it stay.
    public func wait(milliseconds: Int) -> Int32? {
        var event = pollfd(fd: reader, events: Int16(POLLIN), revents: 0)
        guard poll(&event, 1, Int32(clamping: milliseconds)) > 0 else { return nil }
        var byte: UInt8 = 0
        while read(reader, &byte, 1) == 1 { if byte != 0 { return Int32(byte) } }
        return nil
    }
}

private func pass(_ number: Int32) {
    let saved = errno
    var byte = UInt8(truncatingIfNeeded: number)
    _ = write(signalWriter.load(ordering: .acquiring), &byte, 1)
    errno = saved
}

/// The pipe's end that the handler writes to.
private let signalWriter = Atomic<Int32>(-1)
