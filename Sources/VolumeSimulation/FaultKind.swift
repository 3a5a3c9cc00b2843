import Replication

/// What can go wrong in a simulated world, and what an operator may do meanwhile.
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

    /// Kinds that were added later, in the order of their coming. Each is drawn apart from the others, so that what a seed meant
    /// before stays.
    static let added: [FaultKind] = [.driveReseat, .partitionOfInitiators]
}

/// One fault of a schedule.
public struct Fault: Sendable, Equatable, CustomStringConvertible {
    public var kind: FaultKind
    /// Nanoseconds from the world's beginning.
    public var time: UInt64
    public var member: MemberIndex
    /// How long it lasts, in nanoseconds.
    public var span: UInt64
    /// Whatever else has to be chosen, is chosen by this.
    public var choice: UInt64

    public var description: String {
        "\(time / 1000) us: \(kind.rawValue) member \(member) for \(span / 1000) us, choice \(choice % 1000)"
    }
}
