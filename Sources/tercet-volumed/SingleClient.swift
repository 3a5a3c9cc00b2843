import Base
import Glibc

/// The only client of a daemon, at its standard input and output, as libnbd's `nbd_connect_command` begins one.
struct SingleClient: Sendable {
    /// The client's socket, which does not block.
    let descriptor: Int32

    /// Takes the standard input, and leaves nothing at it and at the standard output. Throws where it is no socket.
    static func take() throws(TercetError) -> SingleClient {
        var kind: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(STDIN_FILENO, SOL_SOCKET, SO_TYPE, &kind, &length) == 0, kind == Int32(SOCK_STREAM.rawValue)
        else {
            throw TercetError(
                .invalid,
                "--single: the standard input is no socket; allowed: that of a client which starts this program, "
                    + "as libnbd's nbd_connect_command does")
        }
        let descriptor = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
        let nothing = open("/dev/null", O_RDWR | O_CLOEXEC)
        guard descriptor >= 0, nothing >= 0, fcntl(descriptor, F_SETFL, O_NONBLOCK) == 0,
            dup2(nothing, STDIN_FILENO) >= 0,
            dup2(nothing, STDOUT_FILENO) >= 0
        else {
            throw TercetError(call: "--single", errno: errno, reason: String(cString: strerror(errno)))
        }
        close(nothing)
        return SingleClient(descriptor: descriptor)
    }
}
