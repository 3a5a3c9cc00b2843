import CLinux
import Glibc

/// The descriptors that a service manager passes to a process: sockets that it listens at for it, and what a former process has left in
/// its descriptor store (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES; sd_listen_fds(3)).
public enum InheritedDescriptors {
    private static let first: Int32 = 3

    /// All of them with their names, which are the caller's from now on. There are none the second time, nor for programs that this
    /// one starts.
    public static func take() -> [(name: String, descriptor: Int32)] {
        guard let owner = number("LISTEN_PID"), owner == getpid(), let count = number("LISTEN_FDS"), count > 0,
            count < 1024
        else { return [] }
        let names = getenv("LISTEN_FDNAMES").map { String(cString: $0) } ?? ""
        let parts = names.split(separator: ":", omittingEmptySubsequences: false)
        for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { unsetenv(name) }
        return (0..<count).map { place in
            // They come without it (sd_listen_fds(3)).
            _ = tercet_set_close_on_exec(first + place)
            return (Int(place) < parts.count ? String(parts[Int(place)]) : "", first + place)
        }
    }

    private static func number(_ name: String) -> Int32? { getenv(name).flatMap { Int32(String(cString: $0)) } }
}
