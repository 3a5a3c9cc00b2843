import Replication

/// Faults of a simulated world, and things that an operator may do meanwhile.
public enum FaultKind: String, CaseIterable, Sendable, Codable {
    // Targets.
    /// The daemon is killed and started again; its machine lives.
    case targetKill
    /// The machine loses its power: nobody is told, and the disk loses any part of what was not flushed.
    case targetPowerLoss
    /// The daemon is back before anybody has noticed that it was gone.
    case targetQuickRestart
    /// The daemon is stopped, and goes on later.
    case targetPause
    /// All three machines lose their power at once.
    case powerLossOfAll
    /// The namespace's ANA group is inaccessible.
    case inaccessible

    // Disks.
    case writeErrors
    case latentError
    case slowDisk
    case stuckDisk
    case fullDisk
    /// Only the superblock's blocks are slow.
    case slowRecords
    /// A drive is taken out and put back while its daemon runs: what it had not flushed may be lost.
    case driveReseat

    // The fabric.
    case partition
    /// Nothing comes from the member; what is sent to it arrives.
    case partitionFromMember
    /// Nothing reaches the member; what it sends arrives.
    case partitionToMember
    /// Each member is cut off or not, at random.
    case partitionOfSome
    /// Initiators of odd and of even numbers each reach other members, at random: two can meet without seeing the same.
    case partitionOfInitiators
    /// The member is cut off and back, again and again.
    case flapping
    /// One side's queue pairs break.
    case connectionBreak
    /// One message in so many is lost, which ends its connection.
    case loss
    /// Messages take longer, those of one connection independently of the others'.
    case slowLink
    /// One RDMA READ or WRITE is refused.
    case remoteAccessError
    case targetDeviceRemoval
    case initiatorDeviceRemoval

    // Initiators.
    case initiatorCrash
    case initiatorPowerLoss
    /// The process is stopped for long, and comes back.
    case initiatorPause
    /// Another initiator attaches the volume.
    case competitor
    /// The initiator dies with the first acknowledgement after it has lost a member.
    case crashAtLoss

    // Operators.
    case cleanDetach
    case scrub
    case resyncPause
    case replace
    case grow

    // Only worlds with wide eyes see these; their places in a seed's history are behind the others'.
    /// The member's flushes fail for a while.
    case flushErrors
    /// Writes to some blocks of the member fail until the faults stop.
    case lastingErrors
    /// The member's target cannot store reservations for a while.
    case storeErrors
    /// The member's metadata is read as it was before it was written last, or from beside where it is.
    case misreadRecords
    /// One operation of the member's disk, and one message, in some hundred takes 50 to 300 ms, until the faults stop.
    case heavyTail
    /// The daemon stops between what it has decided and the doorbell, and goes on later.
    case targetStall
    /// The same of the initiator's process.
    case initiatorStall
    /// A machine's clock jumps ahead: it stood still without knowing.
    case clockStep
    /// A member is replaced by its own namespace, emptied or as it is.
    case replaceBySame
    /// A member is replaced, and by the namespace that it had before the last replacement, as it was.
    case replaceByFormer

    // Only worlds with daemons see these.
    case daemonKill
    case daemonPowerLoss
    /// A daemon is stopped, and goes on later.
    case daemonPause
    /// A daemon stops between what it has decided and the doorbell, and goes on later.
    case daemonStall
    /// A daemon's machine stands still, and its clock with it.
    case machineSuspended
    /// A daemon is told to stop, and is started again later.
    case daemonStop
    /// The owner is told to hand the volume over.
    case handOver
    /// The registry ends the owner's lease, which knows nothing of it.
    case leaseRevoked
    /// One daemon does not reach the registry.
    case registryCut
    /// One daemon reaches the registry, and hears nothing from it.
    case registryAnswersLost
    case registryDown
    /// Answers of the registry come so late that others overtake them.
    case looksOvertaken
    /// One daemon does not reach one member, or two.
    case daemonMemberCut
    case hostPathCut
    case hostPathBreak

    // Came later, and only some of the worlds with wide eyes see it.
    /// The namespace that a member had before the last replacement is in the member's place for a while, and nobody says so.
    case formerReturns

    /// Kinds that are about daemons, and the others that their worlds see.
    static let ofDaemons: Set<FaultKind> = [
        .daemonKill, .daemonPowerLoss, .daemonPause, .daemonStall, .machineSuspended, .daemonStop, .handOver,
        .leaseRevoked, .registryCut, .registryAnswersLost, .registryDown, .looksOvertaken, .daemonMemberCut,
        .hostPathCut,
        .hostPathBreak,
    ]
    static let ofMembersOfDaemons: Set<FaultKind> = [
        .partition, .slowLink, .targetKill, .targetPause, .slowDisk, .stuckDisk,
    ]

    /// Kinds that were added later, in the order of their coming. Each is drawn apart from the others, so that what a seed meant
    /// before stays.
    static let added: [FaultKind] = [.driveReseat, .partitionOfInitiators]

    /// Kinds that only worlds with wide eyes see.
    static let wide: [FaultKind] = [
        .flushErrors, .lastingErrors, .storeErrors, .misreadRecords, .heavyTail, .targetStall, .initiatorStall,
        .clockStep,
        .replaceBySame, .replaceByFormer,
    ]

    /// Kinds of uses of a volume that came later: `Profile.drawUses`. Each is drawn apart from the others.
    static let ofUses: [FaultKind] = [.formerReturns]

    /// The others.
    static let narrow = allCases.filter { !wide.contains($0) && !ofDaemons.contains($0) && !ofUses.contains($0) }

    /// All that worlds without daemons see.
    static let ofVolumes = allCases.filter { !ofDaemons.contains($0) && !ofUses.contains($0) }

    /// Kinds that are about one member alone.
    static let ofOneMember: Set<FaultKind> = [
        .targetKill, .targetPowerLoss, .targetQuickRestart, .targetPause, .inaccessible, .writeErrors, .latentError,
        .slowDisk, .stuckDisk, .fullDisk, .slowRecords, .driveReseat, .partition, .partitionFromMember,
        .partitionToMember, .flapping, .connectionBreak, .loss, .slowLink, .remoteAccessError, .targetDeviceRemoval,
        .flushErrors, .lastingErrors, .storeErrors, .heavyTail, .targetStall,
    ]
}

/// One fault of a schedule.
public struct Fault: Sendable, Equatable, CustomStringConvertible {
    public var kind: FaultKind
    /// Nanoseconds from the world's beginning.
    public var time: UInt64
    public var member: MemberIndex
    /// How long it lasts, in nanoseconds.
    public var span: UInt64
    /// The source of every other choice.
    public var choice: UInt64

    public var description: String {
        "\(time / 1000) us: \(kind.rawValue) member \(member) for \(span / 1000) us, choice \(choice % 1000)"
    }
}
