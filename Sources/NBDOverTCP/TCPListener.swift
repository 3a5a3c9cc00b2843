import Base
import CLinux
import Glibc

/// A TCP socket that listens at an address, or one that was inherited. It does not block.
public struct TCPListener: Sendable {
    /// As `tcp://ADDRESS:PORT`, for people.
    public let name: String
    public let descriptor: Int32

    /// The port that is registered for NBD.
    public static let defaultPort: UInt16 = 10809

    public init(_ address: SocketAddress) throws(TercetError) {
        name = "tcp://\(address)"
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        let result = getaddrinfo(address.host, String(address.port), &hints, &found)
        guard result == 0, let found else {
            throw TercetError(.invalid, "\(name): is no address: \(String(cString: gai_strerror(result)))")
        }
        defer { freeaddrinfo(found) }
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        descriptor = socket(found.pointee.ai_family, kind, 0)
        guard descriptor >= 0 else { throw Self.problem(name, "no socket can be made") }
        Self.set(descriptor, SOL_SOCKET, SO_REUSEADDR)
        Self.setForClients(descriptor)
        guard bind(descriptor, found.pointee.ai_addr, found.pointee.ai_addrlen) == 0, listen(descriptor, SOMAXCONN) == 0
        else {
            let problem = Self.problem(name, "cannot be listened at")
            Glibc.close(descriptor)
            throw problem
        }
    }

    /// A socket that listens already.
    public init(inherited descriptor: Int32) {
        Self.setForClients(descriptor)
        self.descriptor = descriptor
        name = "tcp://\(Self.address(descriptor, getsockname))"
    }

    public func close() { Glibc.close(descriptor) }

    /// Whether a socket is one of TCP.
    public static func isTCP(_ descriptor: Int32) -> Bool {
        var domain: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 else { return false }
        return domain == AF_INET || domain == AF_INET6
    }

    /// Sockets that are accepted have these settings too: small answers go out at once, and a peer that has vanished is noticed.
    private static func setForClients(_ descriptor: Int32) {
        set(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY)
        set(descriptor, SOL_SOCKET, SO_KEEPALIVE)
        set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPIDLE, 60)
        set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPINTVL, 10)
        set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPCNT, 6)
    }

    private static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32 = 1) {
        var value = value
        setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
    }

    /// The address of a socket's one end, as people write it.
    static func address(
        _ descriptor: Int32,
        _ call: (Int32, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
    ) -> String {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        var port = [CChar](repeating: 0, count: Int(NI_MAXSERV))
        let isKnown = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                call(descriptor, address, &length) == 0
                    && getnameinfo(
                        address, length, &host, socklen_t(host.count), &port, socklen_t(port.count),
                        NI_NUMERICHOST | NI_NUMERICSERV) == 0
            }
        }
        guard isKnown, let number = UInt16(text(port)), let address = SocketAddress(host: text(host), port: number)
        else {
            return "unknown"
        }
        return "\(address)"
    }

    private static func text(_ characters: [CChar]) -> String {
        String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private static func problem(_ name: String, _ text: String) -> TercetError {
        TercetError(.init(errno: errno), "\(name): \(text): \(String(cString: strerror(errno)))")
    }
}
