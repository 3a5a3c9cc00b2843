import ArgumentParser
import Base
import Replication
import VolumeDriver
import VolumeRegistry

struct RegistryCheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Finish or remove what commands have left half done that died.",
        discussion: """
            A creation whose volume is complete becomes ready; of any other nothing stays at the members or in the registry. An end \
            of a volume is brought about. A replacement or a growth becomes what the members say. What former members had in pools is \
            deleted once the three others are in sync. What a living command is at work on is left alone.

            Exit status: 0 where nothing is left to do, 1 where something is, which the lines say.
            """)

    @Argument(help: "The volumes' names (default: all).") var names: [String] = []
    @OptionGroup var registry: RegistryArguments
    @Option(name: [.customShort("q"), .customLong("hostnqn")], help: hostNQNHelp)
    var hostNQN: String?
    @OptionGroup var patience: Patience
    @Flag(
        name: .customLong("take-over"),
        help: "Take a command for dead that cannot be seen from here, because it ran on another machine.")
    var takesOver = false

    mutating func validate() throws { hostNQN = try FabricsFile.hostNQN(given: hostNQN) }

    func run() async throws {
        let list = try await registry.open()
        let listing = try await callRegistry { () async throws(RegistryError) in try await list.list() }
        for name in names where !listing.volumes.contains(where: { $0.entry.name == name }) {
            throw TercetError(.notFound, "volume \(name): there is none in the registry")
        }
        let unfinished = listing.volumes.map(\.entry).filter { entry in
            (names.isEmpty || names.contains(entry.name))
                && (entry.state != .ready || entry.operation != nil || !entry.replaced.isEmpty)
        }
        var left = 0
        if !unfinished.isEmpty {
            let session = try Session()
            defer { session.end() }
            for entry in unfinished {
                do throws(TercetError) {
                    let registration = try await Registration.find(entry.name, in: list)
                    if entry.state != .ready || entry.operation != nil {
                        print("volume \(entry.name): \(try await settle(registration, session))")
                    }
                    if registration.entry.state == .ready, !registration.entry.replaced.isEmpty {
                        print("volume \(entry.name): \(try await removeReplaced(registration, session))")
                    }
                } catch {
                    left += 1
                    print("\(error)")
                }
            }
        }
        print(
            "\(listing.volumes.count) volumes, \(unfinished.count - left) half done and settled, \(left) left")
        try listing.refuseUnreadable()
        if left > 0 { throw ExitCode(1) }
    }

    /// Deletes what former members of a volume have left in pools, if the present ones hold it without them; returns what was done.
    private func removeReplaced(
        _ registration: Registration, _ session: Session
    ) async throws(TercetError) -> String {
        let volume = ChosenVolume(registration, hostNQN: hostNQN, patience: patience)
        let records = await volume.survey(session.groups[0]).compactMap { try? $0.superblock.get() }
        guard let newest = records.max(by: { $0.stamp < $1.stamp }), newest.volume == registration.entry.uuid,
            newest.inSync == .all
        else {
            throw TercetError(
                .unavailable,
                "volume \(registration.entry.name): former members stay in their pools, for the present ones are not all in sync: tercet "
                    + "volume heal first")
        }
        return try await PooledVolume(registration, hostNQN: hostNQN, patience: patience, session.groups[0])
            .removeReplaced()
    }

    /// Finishes or removes one; returns what was done.
    private func settle(_ registration: Registration, _ session: Session) async throws(TercetError) -> String {
        let entry = registration.entry
        let volume = ChosenVolume(registration, hostNQN: hostNQN, patience: patience)
        if let operation = entry.operation {
            try Registration.checkDead(operation, entry.name, takesOver: takesOver)
        }
        let operation = entry.operation ?? VolumeOperation(entry.state == .creating ? .create : .destroy)
        // From here on it is this command's work.
        var own = operation
        own.worker = .current
        try await registration.change { $0.operation = own }
        if entry.isPooled, operation.kind == .create || operation.kind == .destroy {
            let pooled = PooledVolume(registration, hostNQN: hostNQN, patience: patience, session.groups[0])
            return try await entry.state == .creating ? pooled.settleCreation() : pooled.settleEnd()
        }
        let settlement = Settlement(volume: volume, registration: registration, group: session.groups[0])
        return switch operation.kind {
        case .create where entry.state == .creating: try await settlement.settleCreation()
        case .destroy where entry.state == .deleting: try await settlement.settleEnd()
        case .replace: try await settlement.settleReplacement(operation)
        case .grow: try await settlement.settleGrowth()
        case .create, .destroy:
            throw TercetError(
                .damaged,
                "volume \(entry.name): is \(entry.state), which does not go with \(operation.words); correct its entry")
        }
    }
}
