import Replication

/// Facts of a volume, on the group's thread.
extension Volume {
    /// How many members hold every acknowledged write now.
    public var membersInSync: Int { engine.membersInSync.count }

    /// The members that hold every acknowledged write now.
    package var holders: MemberSet { engine.membersInSync }

    /// The key of this attachment's reservation.
    package var attachmentKey: UInt64 { engine.reservationKey }

    /// Bytes of a region; meaningful while the volume is served.
    public var regionSize: UInt32 { engine.geometry.regionSize }

    /// Bytes of the volume; meaningful once it has been served.
    @inline(__always) public var byteCount: UInt64 { dataBlocks << blockShift }

    /// Bytes of a block, less one.
    @inline(__always) var blockMask: UInt64 { 1 << blockShift - 1 }

    /// The phase of the volume's life.
    public var currentPhase: VolumePhase { engine.phase }

    /// The state of the volume and its members, as `status()` tells it elsewhere.
    public var currentStatus: VolumeStatusReport { engine.status }

    /// Whether all connections to members have ended, and with them all use of memory.
    public var isDisconnected: Bool { links.allSatisfy { $0.controller == nil && $0.outstanding == 0 } }
}
