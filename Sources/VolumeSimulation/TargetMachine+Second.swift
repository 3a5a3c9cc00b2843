import Base
import BlockInterface
import Replication
import Simulation
import TargetInterface

/// The place of a second volume's members on the targets of the first one's.
enum SecondVolumePlace: CaseIterable, Sendable {
    /// Further namespaces of the same subsystems.
    case sameSubsystem
    /// Subsystems of their own.
    case ownSubsystem

    var subsystemNQN: String {
        self == .sameSubsystem ? TargetMachine.nqn : "nqn.2026-11.io.tercet:second"
    }

    var nsid: UInt32 { self == .sameSubsystem ? 2 : 1 }

    /// Adds a member's disk to what its target is told to be.
    func add(
        _ disk: SimulatedDisk, of member: MemberIndex, to first: inout SubsystemDefinition,
        _ others: inout [SubsystemDefinition]
    ) {
        var identity = BlockIdentity()
        identity.uuid = SecondVolume.namespaceUUID(of: member).bytes
        let namespace = NamespaceDefinition(nsid: nsid, backing: .device(disk), identity: identity)
        switch self {
        case .sameSubsystem: first.namespaces.append(namespace)
        case .ownSubsystem:
            others.append(
                SubsystemDefinition(nqn: subsystemNQN, serialNumber: "T\(member)", namespaces: [namespace]))
        }
    }
}

extension TargetMachine {
    /// When the first operation at one of its disks ends, as things are.
    var nextDiskPoll: MonotonicTime {
        guard let secondDisk else { return disk.nextPoll }
        return min(disk.nextPoll, secondDisk.nextPoll)
    }
}
