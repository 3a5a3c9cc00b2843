import Base

/// Where a member is in its life: one enum, one list of transitions.
public enum MemberPhase: UInt8, Sendable, BitwiseCopyable {
    case disconnected
    /// The driver was asked to connect.
    case connecting
    /// Connected; commands of an earlier association may still land (invariant 6).
    case draining
    /// Its reservations and superblock are looked at, before anything is believed.
    case surveying
    /// Looked at; waits for the volume's key to be chosen.
    case surveyed
    /// Our key is registered, others' are preempted and their commands aborted.
    case fencing
    /// The superblock and maps are read, now that nobody else writes.
    case reading
    /// Fenced and read; waits for the volume's decision.
    case ready
    /// Its metadata is being brought up to date.
    case joining
    /// Takes all writes and holds the record; in sync or behind.
    case active
    /// The driver was asked to disconnect, and has not said that it is done.
    case disconnecting
    /// Not used: its metadata is not this volume's.
    case refused

    var isConnected: Bool {
        switch self {
        case .disconnected, .connecting, .disconnecting, .refused: false
        default: true
        }
    }

    func mayBecome(_ next: MemberPhase) -> Bool {
        switch (self, next) {
        case (.disconnected, .connecting), (.connecting, .draining), (.connecting, .disconnected): true
        case (.draining, .surveying), (.surveying, .surveyed), (.surveyed, .fencing), (.fencing, .reading): true
        case (.reading, .ready), (.ready, .joining), (.joining, .active): true
        case (.ready, .reading), (.joining, .reading), (.active, .reading): true
        case (.active, .joining), (.joining, .surveying), (.active, .surveying), (.ready, .surveying): true
        case (.disconnecting, .disconnected), (.disconnecting, .refused), (.refused, .connecting): true
        case (_, .disconnected), (_, .disconnecting): isConnected
        default: false
        }
    }
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

/// The members of a volume.
struct MemberTable: ~Copyable {
    private let members: UnsafeMutablePointer<Member>

    init() {
        members = .allocate(capacity: memberCount)
        members.initialize(repeating: Member(), count: memberCount)
    }

    deinit {
        members.deinitialize(count: memberCount)
        members.deallocate()
    }

    subscript(member: MemberIndex) -> Member {
        @inline(__always) unsafeAddress { UnsafePointer(members + member.number) }
        @inline(__always) unsafeMutableAddress { members + member.number }
    }
}

/// All that the engine knows of one member.
struct Member {
    var phase = MemberPhase.disconnected
    var step = JoinStep.idle
    var association: UInt64 = 0
    var bootInstance: UInt64 = 0
    var blocks: UInt64 = 0
    /// Associations up to this one may still have commands that land; 0 for none.
    var undeadAssociation: UInt64 = 0
    var stepStartedAt = MonotonicTime(nanoseconds: 0)
    var connectAt = MonotonicTime(nanoseconds: 0)
    var reconnectDelay: UInt64 = 0
    /// Commands that have not completed.
    var outstanding = 0
    /// Average latency of reads and writes, in nanoseconds.
    var latency: UInt64 = 0
    /// Average latency of writes.
    var writeLatency: UInt64 = 0
    /// The slowest write of late, in nanoseconds; decays.
    var slowest: UInt64 = 0
    var slowSince = MonotonicTime.distantFuture
    var slowCooldown: UInt64 = 0
    /// When it was last given up for being slow.
    var slowLossAt = MonotonicTime(nanoseconds: 0)
    var lossReason = MemberLossReason.disconnected

    // Joining.
    var found: Superblock?
    var layout: MemberLayout?
    /// The size at whose end a record is that is not the member's any more; 0 for none. It is wiped once the member's own is
    /// where it belongs.
    var staleBlocks: UInt64 = 0
    var isWipingStale = false
    var joinPending = 0
    var joinFailed = false
    var mapCursor = 0
    var keysSeen: [UInt64] = []
    /// Members that become refused instead of disconnected, once the driver is done.
    var isRefused = false

    // The record on the member.
    var superblockSequence: UInt64 = 0
    var superblockVersionInFlight: UInt64 = 0
    var superblockIssuedAt = MonotonicTime(nanoseconds: 0)
    var confirmedVersion: UInt64 = 0
    /// Since when it has taken no metadata, though it is connected.
    var metadataRefusedSince = MonotonicTime.distantFuture

    // Copying to it.
    var copyRetryAt = MonotonicTime(nanoseconds: 0)
    var copyRetryDelay: UInt64 = 0
}
