import Base
import FabricInterface
import NVMeInitiator

/// The address of a volume's member: `traddr:port/subnqn/nsid`.
public struct MemberAddress: Hashable, Sendable, CustomStringConvertible {
    public var address: SocketAddress
    public var subsystemNQN: String
    public var nsid: UInt32

    public init(address: SocketAddress, subsystemNQN: String, nsid: UInt32) {
        self.address = address
        self.subsystemNQN = subsystemNQN
        self.nsid = nsid
    }

    /// Reads the text form; an IPv6 address is in brackets, and port 4420 is meant where none is given. `nil` for anything
    /// else. (An NQN may contain slashes: the first and the last one count.)
    public init?(_ text: String) {
        guard let first = text.firstIndex(of: "/"), let last = text.lastIndex(of: "/"), first < last,
            let address = SocketAddress(String(text[..<first]), defaultPort: 4420),
            let nsid = UInt32(text[text.index(after: last)...]), nsid > 0
        else { return nil }
        self.init(address: address, subsystemNQN: String(text[text.index(after: first)..<last]), nsid: nsid)
    }

    public var description: String { "\(address)/\(subsystemNQN)/\(nsid)" }
}

extension Controller {
    /// A member's namespace, as its subsystem shows it to this host; `nil` where it does not.
    func namespace(_ member: MemberAddress) -> NamespaceDescription? { namespaces.first { $0.nsid == member.nsid } }
}
