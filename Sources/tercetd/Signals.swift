import CLinux
import Glibc

/// The signals that a daemon is told things by. They are blocked in all threads and waited for in one.
struct Signals {
    private var set = sigset_t()

    /// Blocks the signals. Called before any thread is started, so that all threads inherit it.
    init() {
        sigemptyset(&set)
        for signal in [SIGTERM, SIGINT, SIGHUP] { sigaddset(&set, signal) }
        pthread_sigmask(SIG_BLOCK, &set, nil)
        // A peer of a log pipe may go away at any time.
        signal(SIGPIPE, SIG_IGN)
    }

    /// The next signal, or `nil` after `seconds` without one.
    func wait(seconds: Int) -> Int32? {
        var timeout = timespec(tv_sec: seconds, tv_nsec: 0)
        let signal = withUnsafePointer(to: set) { sigtimedwait($0, nil, &timeout) }
        return signal > 0 ? signal : nil
    }
}
