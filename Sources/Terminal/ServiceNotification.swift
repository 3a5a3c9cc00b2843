import Glibc

/// Tells a service manager how the program is doing (sd_notify(3)); does nothing where none asks.
public struct ServiceNotification: Sendable {
    private let path: String?
    /// Half of the time after which the service manager gives the program up; `nil` where it does not watch.
    public let watchdogMilliseconds: Int?

    /// Reads the environment (NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID), and takes it out for programs that this one starts.
    public init() {
        path = getenv("NOTIFY_SOCKET").map { String(cString: $0) }
        let owner = getenv("WATCHDOG_PID").flatMap { Int32(String(cString: $0)) }
        let microseconds = getenv("WATCHDOG_USEC").flatMap { Int(String(cString: $0)) }
        watchdogMilliseconds = owner == nil || owner == getpid() ? microseconds.map { max(1, $0 / 2000) } : nil
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] { unsetenv(name) }
    }

    /// Serves; and in a word what.
    public func ready(_ status: String) { send("READY=1\nSTATUS=\(status)") }

    /// Reads its configuration again; `ready` follows. The time is the one by which systemd tells this reload from others.
    public func reloading() {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        send("RELOADING=1\nMONOTONIC_USEC=\(time.tv_sec * 1_000_000 + time.tv_nsec / 1000)")
    }

    public func stopping() { send("STOPPING=1\nSTATUS=stopping") }

    /// How it does, in a sentence.
    public func status(_ text: String) { send("STATUS=\(text)") }

    /// Still alive.
    public func beat() { send("WATCHDOG=1") }

    private func send(_ text: String) {
        guard let path, !path.isEmpty else { return }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return }
        withUnsafeMutableBytes(of: &address.sun_path) { place in
            place.copyBytes(from: bytes)
            // An abstract name begins with a zero, written as @.
            if bytes.first == UInt8(ascii: "@") { place[0] = 0 }
        }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let text = Array(text.utf8)
        _ = withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(descriptor, text, text.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT), $0, length)
            }
        }
    }
}
