import Base

/// The connection to a member.
struct MemberConnection: BitwiseCopyable {
    var association: UInt64 = 0
    var cache = CacheInstance(number: 0)
    /// The namespace's size.
    var blocks: UInt64 = 0
    /// Associations up to this one may still have commands that land; 0 for none.
    var undeadAssociation: UInt64 = 0
    /// When the next connection is made.
    var connectAt = MonotonicTime(nanoseconds: 0)
    var reconnectDelay: UInt64 = 0
    var lossReason = MemberLossReason.disconnected
    /// The member becomes refused instead of disconnected, once the driver is done.
    var isRefused = false
}

/// The step of the sequence that takes a member in.
enum JoinStep: UInt8, BitwiseCopyable {
    case idle
    case surveyReport
    case register, fenceReport, preempt, acquire, verify
    case superblock, formerSuperblock, movedSuperblock, maps
    case flush
    case unregister
}

/// The findings on a member while it is taken in.
struct MemberJoining {
    var step = JoinStep.idle
    var found: Superblock?
    /// The places of its metadata.
    var layout: MemberLayout?
    /// The size at whose end a record is that is not the member's any more; 0 for none. It is wiped once the member's own is
    /// where it belongs.
    var staleBlocks: UInt64 = 0
    /// Commands of the sequence that have not completed.
    var pending = 0
    var mapCursor = 0
    /// The reservation keys that it told of.
    var keysSeen: [UInt64] = []
}

/// The record on a member.
struct MemberRecordState: BitwiseCopyable {
    var sequence: UInt64 = 0
    var versionInFlight: UInt64 = 0
    var issuedAt = MonotonicTime(nanoseconds: 0)
    /// The record that both of the member's slots hold; 0 where they may hold different ones.
    var confirmedVersion: UInt64 = 0
    /// The record that one of its slots holds, and the other not yet; 0 where there is none.
    var halfConfirmedVersion: UInt64 = 0
    var isWipingStale = false
    /// A signpost is being written (`VolumeState.putSignpost`).
    var isSignposting = false
    /// The size, in blocks, at whose end a signpost was written over this connection; 0 for none.
    var signpostedBlocks: UInt64 = 0
    /// Since when it has taken no metadata, though it is connected.
    var refusedSince = MonotonicTime.distantFuture

    /// The member's slots may hold anything: they have been read anew, or are elsewhere.
    mutating func distrust() {
        confirmedVersion = 0
        halfConfirmedVersion = 0
    }
}

/// When regions are copied to a member again after one could not be.
struct CopyRetry: BitwiseCopyable {
    private(set) var at = MonotonicTime(nanoseconds: 0)
    private var delay: UInt64 = 0

    /// Lets copies wait, longer each time.
    mutating func put(off now: MonotonicTime, _ configuration: VolumeConfiguration) {
        guard now >= at else { return }
        delay = min(max(configuration.retryDelay, delay * 2), configuration.reconnectDelayMaximum)
        at = now.advanced(byNanoseconds: delay)
    }

    mutating func succeeded() { delay = 0 }
}

/// All that the engine knows of one member.
struct Member {
    private(set) var phase = MemberPhase.disconnected
    /// When it came into its phase.
    var stepStartedAt = MonotonicTime(nanoseconds: 0)
    /// Commands that have not completed.
    var outstanding = 0
    var connection = MemberConnection()
    var joining = MemberJoining()
    var record = MemberRecordState()
    var pace = MemberPace()
    var copyRetry = CopyRetry()

    mutating func become(_ next: MemberPhase, now: MonotonicTime) {
        guard phase != next else { return }
        invariant(phase.mayBecome(next), "a member's phases follow each other as listed")
        phase = next
        stepStartedAt = now
    }
}
