import Glibc

/// An IPv4 or IPv6 address and a port, as RDMA CM takes them.
public struct SocketAddress: Hashable, Sendable, CustomStringConvertible {
    /// NVMe-oF address families (NVMe-oF, Discovery Log Page Entry "ADRFAM").
    public enum Family: UInt8, Sendable {
        case ipv4 = 1
        case ipv6 = 2
    }

    public let family: Family
    /// The address as people write it, without brackets; an IPv6 link-local one carries its zone (`fe80::1%eth0`).
    public let host: String
    public let port: UInt16

    /// Accepts a numeric IPv4 or IPv6 address; `nil` for anything else.
    public init?(host: String, port: UInt16) {
        let bare = host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
        // The system would not see what is behind a zero.
        guard !bare.utf8.contains(0) else { return nil }
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICHOST
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var result: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(bare, nil, &hints, &result) == 0, let result else { return nil }
        defer { freeaddrinfo(result) }
        switch result.pointee.ai_family {
        case AF_INET: family = .ipv4
        case AF_INET6: family = .ipv6
        default: return nil
        }
        self.host = bare
        self.port = port
    }

    /// Accepts `ADDRESS`, `ADDRESS:PORT`, `[IPV6]` and `[IPV6]:PORT`; `nil` for anything else.
    public init?(_ text: String, defaultPort: UInt16) {
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { return nil }
            let rest = text[text.index(after: end)...]
            guard rest.isEmpty || rest.hasPrefix(":") else { return nil }
            guard let port = rest.isEmpty ? defaultPort : UInt16(rest.dropFirst()) else { return nil }
            self.init(host: String(text[text.index(after: text.startIndex)..<end]), port: port)
        } else if text.split(separator: ":", omittingEmptySubsequences: false).count == 2 {
            let parts = text.split(separator: ":", omittingEmptySubsequences: false)
            guard let port = UInt16(parts[1]) else { return nil }
            self.init(host: String(parts[0]), port: port)
        } else {
            self.init(host: text, port: defaultPort)
        }
    }

    /// The address that a socket or RDMA CM call returned; `nil` if it is of another family or unset.
    public init?(_ address: UnsafePointer<sockaddr>?) {
        guard let address else { return nil }
        let length: Int
        let networkPort: in_port_t
        switch Int32(address.pointee.sa_family) {
        case AF_INET:
            family = .ipv4
            length = MemoryLayout<sockaddr_in>.size
            networkPort = UnsafeRawPointer(address).loadUnaligned(as: sockaddr_in.self).sin_port
        case AF_INET6:
            family = .ipv6
            length = MemoryLayout<sockaddr_in6>.size
            networkPort = UnsafeRawPointer(address).loadUnaligned(as: sockaddr_in6.self).sin6_port
        default: return nil
        }
        // An IPv6 address in full, its zone's name and the final zero.
        let text: String? = withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN) + 64) {
            buffer in
            guard
                getnameinfo(
                    address, socklen_t(length), buffer.baseAddress, socklen_t(buffer.count), nil, 0, NI_NUMERICHOST)
                    == 0,
                let base = buffer.baseAddress
            else { return nil }
            return String(cString: base)
        }
        guard let text else { return nil }
        host = text
        port = UInt16(bigEndian: networkPort)
    }

    public var description: String { family == .ipv6 ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// Calls `body` with the address in the form that the socket and RDMA CM calls take. Returns `nil` without calling
    /// it if the network interface that the zone names is gone.
    public func withSockaddr<Result>(_ body: (UnsafeMutablePointer<sockaddr>, socklen_t) -> Result) -> Result? {
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var result: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, String(port), &hints, &result) == 0, let result else { return nil }
        defer { freeaddrinfo(result) }
        return body(result.pointee.ai_addr, result.pointee.ai_addrlen)
    }
}
