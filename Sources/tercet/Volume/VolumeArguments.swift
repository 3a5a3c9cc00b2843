import ArgumentParser
import Base
import NVMeInitiator
import NVMeSpec
import RegistryBackend
import Replication
import VolumeDriver
import VolumeRegistry

/// Which volume: by its name in a registry, or by its members.
struct VolumeArguments: ParsableArguments {
    @Argument(help: "The volume's name in the registry, in the place of its members.")
    var name: String?

    @Option(
        name: [.customShort("m"), .customLong("member")],
        help: ArgumentHelp(
            "A member; three times, in order. SUBNQN/NSID will do where nvme-fabrics.conf of nvme-cli 3 knows the subsystem.",
            valueName: "ADDRESS:PORT/SUBNQN/NSID"),
        transform: FabricsFile.member)
    var members: [MemberAddress] = []

    @OptionGroup var registry: RegistryArguments

    @Option(name: [.customShort("q"), .customLong("hostnqn")], help: hostNQNHelp)
    var hostNQN: String?

    @Option(name: .customLong("old-size"), help: VolumeArguments.oldSizeHelp)
    var oldSize: ByteCount?

    @OptionGroup var patience: Patience

    static let oldSizeHelp = ByteCount.help(
        "Size that the namespaces had when the volume was last attached, where they have been enlarged since.")

    mutating func validate() throws {
        try validateMembers()
        hostNQN = try FabricsFile.hostNQN(given: hostNQN)
    }

    private func validateMembers() throws {
        if let name {
            do throws(RegistryError) { try VolumeEntry.validate(name: name) } catch {
                throw ValidationError(error.message)
            }
            guard registry.place != nil else {
                throw ValidationError(
                    "\(name) is a name in a registry: --registry, or the variable \(RegistryBackend.variable), says in which; "
                        + "allowed: \(RegistryBackend.allowed)")
            }
            if members.isEmpty { return }
        }
        guard members.count == memberCount else {
            throw ValidationError("\(members.count) members are given; a volume has \(memberCount)")
        }
        for member in members { try checkNQN(member.subsystemNQN, "NQN") }
    }

    /// The volume that is meant, with its entry if it was named.
    ///
    /// - Parameter states: those in which it may be.
    func chosen(_ states: Set<VolumeEntry.State> = [.ready]) async throws -> ChosenVolume {
        guard let name else { return ChosenVolume(self, members) }
        guard members.isEmpty else {
            throw ValidationError("\(name) and --member: one of them says which volume it is")
        }
        let registration = try await Registration.find(name, in: try await registry.open())
        let entry = registration.entry
        guard states.contains(entry.state) else {
            throw TercetError(
                .unavailable,
                "volume \(name) is not ready: it is \(entry.state), by \(entry.operation?.worker.words ?? "nobody"); if that was "
                    + "interrupted, tercet registry check finishes or removes it")
        }
        return ChosenVolume(self, entry.members.map(\.address), registration)
    }
}

/// The volume that a command is for.
struct ChosenVolume {
    let members: [MemberAddress]
    /// Its entry; `nil` if it was not named.
    let registration: Registration?
    let hostNQN: String?
    var oldSize: ByteCount?
    let patience: Patience

    init(_ arguments: VolumeArguments, _ members: [MemberAddress], _ registration: Registration? = nil) {
        self.members = members
        self.registration = registration
        hostNQN = arguments.hostNQN
        oldSize = arguments.oldSize
        patience = arguments.patience
    }

    /// The volume of an entry.
    init(_ registration: Registration, hostNQN: String?, patience: Patience) {
        members = registration.entry.members.map(\.address)
        self.registration = registration
        self.hostNQN = hostNQN
        oldSize = nil
        self.patience = patience
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

    /// Throws if the registry says of the volume what its members deny.
    func check(_ surveys: [MemberSurvey], excluded: MemberSet = []) throws(TercetError) {
        if let problem = registration?.expected.objection(members, surveys, excluded: excluded) {
            throw TercetError(.invalid, problem)
        }
    }
}
