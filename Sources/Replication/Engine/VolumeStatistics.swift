/// Counts since the engine was made. It has more fields than a part may have, because it is a list of counts.
public struct VolumeStatistics: Equatable, Sendable, BitwiseCopyable {
    public var reads: UInt64 = 0
    public var writes: UInt64 = 0
    public var flushes: UInt64 = 0
    /// Commands sent to members for hosts' writes, one for each copy.
    public var memberWrites: UInt64 = 0
    /// I/Os that waited for an earlier one that they overlap.
    public var overlapsHeld: UInt64 = 0
    /// Commands sent again after a pause.
    public var retries: UInt64 = 0
    public var memberLosses: UInt64 = 0
    public var slowDemotions: UInt64 = 0
    public var demotions: UInt64 = 0
    /// Registrations of other hosts that members have preempted and aborted for this one.
    public var preemptions: UInt64 = 0
    /// Times when this process itself stood still, so that members were given longer.
    public var standstills: UInt64 = 0
    /// Bitmap pages written to members, and records.
    public var pageWrites: UInt64 = 0
    public var recordWrites: UInt64 = 0
    /// Record slots that were damaged where a record had been written: torn by a crash, or rotten.
    public var recordsDamaged: UInt64 = 0
    /// Reads answered by another member after a media error.
    public var readFailovers: UInt64 = 0
    public var regionsCopied: UInt64 = 0
    public var bytesCopied: UInt64 = 0
    public var regionsRepaired: UInt64 = 0
    public var regionsScrubbed: UInt64 = 0
    public var mismatches: UInt64 = 0
    public var housekeepingFlushes: UInt64 = 0

    public init() {}
}

/// A member, as an operator sees it.
public struct MemberStatusReport: Equatable, Sendable {
    public var phase: MemberPhase
    public var isInSync: Bool
    /// Regions still to be copied to it.
    public var behindRegions: Int
    /// Average latency in nanoseconds.
    public var latency: UInt64
    public var lastLoss: MemberLossReason
}

/// A volume, as an operator sees it.
public struct VolumeStatusReport: Equatable, Sendable {
    public var phase: VolumePhase
    public var epoch: UInt64
    public var version: UInt64
    /// The record is durable on enough members.
    public var isRecordValid: Bool
    /// Regions with writes in flight or unflushed.
    public var dirtyRegions: Int
    /// Regions in which members in sync may differ, not copied yet.
    public var unreconciledRegions: Int
    public var quarantinedRegions: Int
    /// Bytes of a region.
    public var regionSize: UInt32
    public var members: [MemberStatusReport]
}
