import NVMeSpec

/// A host that has a volume attached, as one of its members tells.
///
/// Asking keeps an operator or a program from fencing a host by mistake. What keeps two hosts apart is the fencing itself.
public struct VolumeOccupant: Error, Sendable {
    public var member: MemberAddress
    public var host: ReservationStatus.Registrant
    /// The host is there; where this is false it may have died.
    public var isCertain: Bool

    /// How long a host that has just died may seem to be connected, in milliseconds: a volume's keep-alive timeout, and a
    /// second.
    public static let patienceMilliseconds: UInt64 = 3000

    /// The first of the hosts that were found, if there is one.
    ///
    /// - Parameter present: by member, as `MemberProbe.presentHosts` finds them.
    public init?(_ members: [MemberAddress], _ present: [[PresentHost]]) {
        for (member, hosts) in zip(members, present) {
            guard let host = hosts.first else { continue }
            self.member = member
            self.host = host.registrant
            isCertain = host.isCertain
            return
        }
        return nil
    }

    /// Why the volume is left alone.
    ///
    /// - Parameter consent: what its user says or sets to have the host fenced.
    public func objection(consent: String) -> String {
        let (id, key) = (host.hostID, String(host.key, radix: 16))
        let registration = "it is registered at \(member), under key \(key), as controller \(host.controllerID)"
        return isCertain
            ? "host \(id) has the volume attached: stop it there, or \(consent) to fence it (\(registration))"
            : "host \(id) has the volume attached, or it died, which its target does not tell: make sure that it is stopped, and "
                + "\(consent) (\(registration))"
    }
}
