import CLinux
import Glibc
import Synchronization
import SystemPackage

/// Interrupts, as values to ask for. A child's end interrupts the waiting too.
struct Signals {
    private let reader: Int32

    init() {
        var ends: [Int32] = [-1, -1]
        if pipe2(&ends, O_CLOEXEC | O_NONBLOCK) != 0 { fatalError("pipe2: \(Errno(rawValue: errno))") }
        reader = ends[0]
        signalWriter.store(ends[1], ordering: .releasing)
        for number in [SIGTERM, SIGINT, SIGHUP, SIGCHLD] {
            signal(number) { number in
                let saved = errno
                var byte = UInt8(truncatingIfNeeded: number)
                _ = write(signalWriter.load(ordering: .acquiring), &byte, 1)
                errno = saved
            }
        }
        signal(SIGPIPE, SIG_IGN)
    }

    /// Waits for so long, or until a signal comes; returns one that asks for the run's end.
    func wait(milliseconds: Int) -> Int32? {
        var event = pollfd(fd: reader, events: Int16(POLLIN), revents: 0)
        guard poll(&event, 1, Int32(clamping: milliseconds)) > 0 else { return nil }
        var byte: UInt8 = 0
        var interrupt: Int32?
        while read(reader, &byte, 1) == 1 { if Int32(byte) != SIGCHLD { interrupt = interrupt ?? Int32(byte) } }
        return interrupt
    }

    /// Waits until something is so. Throws when the time is over, or on a signal that asks for the end.
    func wait(seconds: Double, for what: String, until condition: () -> Bool) throws(Failure) {
        let deadline = now() + seconds
        while !condition() {
            if let number = wait(milliseconds: 20) { throw Failure("interrupted", exitStatus: 128 + number) }
            guard now() < deadline else { throw Failure("\(what) within \(text(seconds, digits: 0)) s") }
        }
    }
}

/// The pipe's end that the handler writes to.
private let signalWriter = Atomic<Int32>(-1)
