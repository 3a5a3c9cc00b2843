import ArgumentParser
import Base
import NVMeInitiator
import NVMeSpec
import Replication
import VolumeDriver

extension MemberAddress: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}

/// Which volume.
struct VolumeArguments: ParsableArguments {
    @Option(
        name: [.customShort("m"), .customLong("member")],
        help: ArgumentHelp("A member; three times, in order.", valueName: "ADDRESS:PORT/SUBNQN/NSID"))
    var members: [MemberAddress] = []

    @Option(name: [.customShort("q"), .customLong("hostnqn")], help: "NQN of this host (default: /etc/nvme/hostnqn).")
    var hostNQN: String?

    @Option(name: .customLong("old-size"), help: VolumeArguments.oldSizeHelp)
    var oldSize: ByteCount?

    @OptionGroup var patience: Patience

    static let oldSizeHelp = ByteCount.help(
        "Size that the namespaces had when the volume was last attached, where they have been enlarged since.")

    func validate() throws {
        guard members.count == memberCount else {
            throw ValidationError("\(members.count) members are given; a volume has \(memberCount)")
        }
        for member in members { try checkNQN(member.subsystemNQN, "NQN") }
        if let hostNQN { try checkNQN(hostNQN, "host NQN") }
    }

    /// This host, under an identifier of its own for this run: to reservations each attachment is another host.
    var host: HostIdentity { HostIdentity(nqn: hostNQN, id: .random()) }

    /// Lets `body` look at members, and change them: the volume's, or others. What `body` throws is the command's failure.
    func probe<Result>(
        _ group: InitiatorGroup, at addresses: [MemberAddress]? = nil,
        _ body: (MemberProbe) async throws(TercetError) -> Result
    ) async throws(TercetError) -> Result {
        let host = host
        return try await MemberProbe.connected(
            to: addresses ?? members, hostNQN: host.nqn, hostID: host.id, group: group,
            connectTimeoutMilliseconds: UInt32(clamping: min(patience.milliseconds, 30_000)), body)
    }

    /// Looks at the members that can be reached.
    func survey(_ group: InitiatorGroup) async -> [MemberSurvey] {
        let host = host
        return await MemberProbe.survey(
            members, hostNQN: host.nqn, hostID: host.id, group: group, formattedBytes: UInt64(oldSize?.value ?? 0))
    }
}
