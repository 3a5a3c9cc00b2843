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

    /// Reads the text form, or `SUBNQN/NSID`, a member by its names alone.
    ///
    /// - Parameter addressOf: knows where a subsystem is; it is asked for those that are given by name.
    /// - Throws: `invalid` for anything else, and what `addressOf` throws.
    public init(
        _ text: String, addressOf: (_ subsystemNQN: String) throws(TercetError) -> SocketAddress
    ) throws(TercetError) {
        if let member = MemberAddress(text) {
            self = member
            return
        }
        guard text.hasPrefix("nqn."), let slash = text.lastIndex(of: "/"),
            let nsid = UInt32(text[text.index(after: slash)...]), nsid > 0
        else {
            throw TercetError(
                .invalid,
                "'\(text)' is no member; allowed: ADDRESS:PORT/SUBNQN/NSID, or SUBNQN/NSID where nvme-fabrics.conf knows the subsystem"
            )
        }
        let nqn = String(text[..<slash])
        self.init(address: try addressOf(nqn), subsystemNQN: nqn, nsid: nsid)
    }

    public var description: String { "\(address)/\(subsystemNQN)/\(nsid)" }
}

extension Controller {
    /// A member's namespace, as its subsystem shows it to this host; `nil` where it does not.
    func namespace(_ member: MemberAddress) -> NamespaceDescription? { namespaces.first { $0.nsid == member.nsid } }
}
