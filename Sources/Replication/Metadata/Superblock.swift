import Base

/// How a volume keeps deposed writers out.
public enum FencingMode: UInt8, Sendable, BitwiseCopyable {
    /// NVMe reservations: Write Exclusive, Registrants Only, persisted through power loss.
    case reservations = 0
    /// Nothing does: the operator answers for there being one writer.
    case none = 1
}

/// The state of one member's data, by a record.
public enum MemberDataState: UInt8, Sendable, BitwiseCopyable {
    /// Holds every acknowledged write.
    case inSync = 0
    /// May lack writes; serves no reads.
    case behind = 1
}

/// The use that a volume's contents are of, as far as its users have told: who makes a file system asks here first.
public enum VolumeContents: UInt8, Sendable, BitwiseCopyable, Comparable {
    /// Somebody has written to it. Records from before there was this mark say so.
    case written = 0
    /// Nothing has been written since the volume was created: every block reads as zeroes.
    case blank = 1
    /// Somebody is making a file system, and has not come to the end. Until then there is nothing to be lost.
    case beingFormatted = 2

    /// A volume's contents only ever become greater.
    public static func < (left: VolumeContents, right: VolumeContents) -> Bool { left.rank < right.rank }

    private var rank: Int {
        switch self {
        case .blank: 0
        case .beingFormatted: 1
        case .written: 2
        }
    }
}

/// The order of records: of two, the greater was written by a later attachment, or later within one.
public struct RecordStamp: Comparable, Hashable, Sendable, BitwiseCopyable, CustomStringConvertible {
    /// The attachment's reservation key, whose high half is the epoch: keys grow from attachment to attachment.
    public var attachmentKey: UInt64
    /// Raised at each change of membership within the epoch.
    public var version: UInt64

    public init(attachmentKey: UInt64, version: UInt64) {
        self.attachmentKey = attachmentKey
        self.version = version
    }

    /// Raised at each attach.
    @inlinable public var epoch: UInt64 { attachmentKey >> 32 }

    public static func < (left: RecordStamp, right: RecordStamp) -> Bool {
        left.attachmentKey == right.attachmentKey
            ? left.version < right.version : left.attachmentKey < right.attachmentKey
    }

    public var description: String { "\(epoch).\(version)/\(attachmentKey & 0xffff_ffff)" }
}

/// One member, by a superblock.
public struct MemberRecord: Equatable, Sendable, BitwiseCopyable {
    public var uuid: UUIDBytes
    /// The member's size in blocks, for which its layout holds.
    public var blocks: UInt64
    /// The target's boot instance when the member was last taken into sync; 0 where the target does not tell.
    public var bootInstance: UInt64
    public var state: MemberDataState
    /// The epoch in which the member fell behind; 0 while in sync.
    public var behindSinceEpoch: UInt64

    public init(
        uuid: UUIDBytes, blocks: UInt64, bootInstance: UInt64 = 0, state: MemberDataState = .inSync,
        behindSinceEpoch: UInt64 = 0
    ) {
        self.uuid = uuid
        self.blocks = blocks
        self.bootInstance = bootInstance
        self.state = state
        self.behindSinceEpoch = behindSinceEpoch
    }
}

/// The record that each member holds, in two alternating slots.
public struct Superblock: Equatable, Sendable {
    /// The format that this release writes and the newest that it reads.
    public static let currentFormat: UInt32 = 1

    /// Raised at each write on a member; its parity is the slot.
    public var sequence: UInt64
    public var volume: UUIDBytes
    /// The member that this copy is on.
    public var member: MemberIndex
    public var geometry: VolumeGeometry
    public var fencing: FencingMode
    /// Copies that must hold a write before it is acknowledged: 1 to 3.
    public var minimumCopies: Int
    /// The volume was detached, with all members flushed and all maps clear of writes in flight.
    public var isClean: Bool
    /// Set by a detach, as the last word of the attachment: `nil` while it may write.
    public var grace: FencingGrace?
    public var stamp: RecordStamp
    public var members: [MemberRecord]
    /// Regions in which a scrub found members to differ and that have not been repaired since: at most
    /// `VolumeGeometry.quarantineCapacity`, in ascending order.
    public var quarantine: [RegionIndex]
    public var contents: VolumeContents

    public init(
        sequence: UInt64, volume: UUIDBytes, member: MemberIndex, geometry: VolumeGeometry,
        fencing: FencingMode = .reservations, minimumCopies: Int = 2, isClean: Bool, grace: FencingGrace? = nil,
        stamp: RecordStamp, members: [MemberRecord], quarantine: [RegionIndex] = [], contents: VolumeContents = .written
    ) {
        self.sequence = sequence
        self.volume = volume
        self.member = member
        self.geometry = geometry
        self.fencing = fencing
        self.minimumCopies = minimumCopies
        self.isClean = isClean
        self.grace = grace
        self.stamp = stamp
        self.members = members
        self.quarantine = quarantine
        self.contents = contents
    }

    /// The size, in blocks, at whose end this record's member keeps its metadata, where its namespace of `blocks` has become
    /// larger since; `nil` where it has not.
    public func formerSize(of blocks: UInt64) -> UInt64? {
        let kept = members[member].blocks
        return kept < blocks ? kept : nil
    }

    /// The members that the record says are in sync.
    public var inSync: MemberSet {
        MemberSet(MemberSet.all.filter { members[$0].state == .inSync })
    }
}
