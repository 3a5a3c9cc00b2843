/// A reservation command for a member's namespace (NVMe Base, Reservation Register, Acquire, Release, Report). The type is
/// always Write Exclusive, Registrants Only, and registrations persist through power loss (CPTPL 11b).
public enum ReservationCommand: Equatable, Sendable {
    /// Registers the key, replacing whatever this host had registered (IEKEY).
    case register(key: UInt64)
    /// Acquires the reservation; nobody holds it.
    case acquire(key: UInt64)
    /// Takes `preempted`'s registration, and the reservation if it holds it, and aborts its commands: done only when
    /// none of them can touch the namespace any more.
    case preemptAndAbort(key: UInt64, preempted: UInt64)
    /// As `preemptAndAbort`, without waiting for commands that run. Never sent by a sound engine.
    case preempt(key: UInt64, preempted: UInt64)
    /// Gives up the reservation and the registration.
    case unregister(key: UInt64)
    case report
}

/// The findings of a Reservation Report.
public struct ReservationReport: Equatable, Sendable {
    /// The holder's key; 0 where nobody holds the reservation.
    public var holderKey: UInt64
    /// The keys of all registrants.
    public var keys: [UInt64]
    /// The key that this host has registered; 0 where it has none.
    public var ownKey: UInt64

    public init(holderKey: UInt64, keys: [UInt64], ownKey: UInt64) {
        self.holderKey = holderKey
        self.keys = keys
        self.ownKey = ownKey
    }
}

/// Why a member is no longer used.
public enum MemberLossReason: UInt8, Equatable, Sendable, BitwiseCopyable {
    case disconnected
    case timedOut
    /// A command ended without its outcome being known.
    case outcomeUnknown
    /// A write of the record or of a bitmap failed, or a flush; or a write that had to be durable, on all members in sync.
    case metadataFailed
    case slow
    /// Told to by the operator.
    case removed
    /// The sequence that takes it in did not end in time, or failed.
    case joinFailed
}

/// Things worth telling an operator.
public enum VolumeNotice: Equatable, Sendable {
    case memberLost(MemberIndex, MemberLossReason)
    /// The member is connected, fenced and receives writes; it is being brought up to date.
    case memberReturning(MemberIndex)
    case memberInSync(MemberIndex)
    /// The member failed some writes: it is behind, and stays connected.
    case memberDemoted(MemberIndex)
    /// The member is not taken in; the error says what to do.
    case memberRefused(MemberIndex, MetadataError)
    /// One of the member's two record slots is damaged: torn by a crash, or rotten. The other is believed.
    case recordDamaged(MemberIndex, slot: Int)
    /// The member's record is newer than this attachment: another initiator serves the volume.
    case newerEpoch(MemberIndex, UInt64)
    /// These members are needed, and not there, for the volume to be served.
    case waitingFor(MemberSet, WaitReason)
    /// The members in sync do not hold the same in this region, and nothing proves which is right.
    case mismatch(region: RegionIndex)
    /// The region cannot be read from any member that could be its source.
    case regionUnreadable(RegionIndex)
    case scrubFinished(mismatches: Int)
    case grown(dataBlocks: UInt64)
    case growFailed
    /// The record says so of the volume's contents, durably.
    case contentsMarked(VolumeContents)
}

/// Why a volume cannot be served without members that are not there.
public enum WaitReason: Equatable, Sendable {
    /// Those that are there are too few, or none of them is in sync.
    case tooFew
    /// Those that are there have lost their caches, and the others may have kept what was not flushed.
    case lostCaches
}

/// A thing that the engine asks of its driver outside of the I/O path.
public enum VolumeAction: Equatable, Sendable {
    /// Connect the member: answered by `connected` or `disconnected`.
    case connect(MemberIndex)
    /// Put the member's queue pairs in error, deliver all completions, answer with `disconnected`. Nothing is to be done
    /// where the connection has ended by itself and `disconnected` was delivered, or is about to be.
    case disconnect(MemberIndex)
    /// Answered by `reservationDone` or `reservationReport`.
    case reservation(MemberIndex, ReservationCommand)
    case phaseChanged(VolumePhase)
    case notice(VolumeNotice)
    /// The attach failed before anything was written.
    case attachFailed(AttachError)
}

/// Why an attach was given up.
public enum AttachError: Error, Equatable, Sendable {
    case metadata(MetadataError)
    /// Another initiator attached at the same time, or later, with a greater key.
    case superseded(member: MemberIndex)
    /// The operator let the volume go.
    case abandoned
    /// The epoch that this member's record or reservations tell is the greatest there is; the volume has to be created anew.
    case epochExhausted(member: MemberIndex)
}

/// News of a member from the driver, outside of the I/O path. After `disconnected` no completion and no answer of the old
/// association follows.
public enum MemberEvent: Equatable, Sendable {
    /// An association is there.
    case connected(MemberIndex, association: UInt64, cache: CacheInstance, blocks: UInt64)
    /// The association ended, by `disconnect` or by itself, or could not be made.
    case disconnected(MemberIndex)
    /// No command of the association, nor of earlier ones, can reach the media any more: the target drained it at
    /// Connect, its commands were aborted, or the keep-alive timeout and the command quiesce time have passed.
    case associationDead(MemberIndex, association: UInt64)
    /// The namespace's size has changed (NVMe asynchronous event "Namespace Attribute Changed").
    case resized(MemberIndex, blocks: UInt64)
    /// The member's target notified that this host's registration was preempted (NVMe reservation notification log,
    /// "Registration Preempted"): another initiator has taken the volume over.
    case registrationPreempted(MemberIndex)
    case reservationDone(MemberIndex, MemberStatus)
    case reservationReport(MemberIndex, ReservationReport)
}
