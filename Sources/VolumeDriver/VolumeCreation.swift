import Base
import NVMeSpec
import Replication

/// How a new volume is to be.
public struct VolumeCreation: Sendable {
    public var volume: UUIDBytes
    public var regionSize: UInt32
    /// Size in bytes; `nil` for as much as the members hold.
    public var byteCount: UInt64?
    public var fencing: FencingMode
    public var minimumCopies: Int
    /// Members that hold a volume are formatted all the same.
    public var overwrite: Bool
    /// How the user says `overwrite`, for messages.
    public var overwriteConsent = "set overwrite"

    public init(
        volume: UUIDBytes, regionSize: UInt32 = VolumeGeometry.defaultRegionSize, byteCount: UInt64? = nil,
        fencing: FencingMode = .reservations, minimumCopies: Int = 2, overwrite: Bool = false
    ) {
        self.volume = volume
        self.regionSize = regionSize
        self.byteCount = byteCount
        self.fencing = fencing
        self.minimumCopies = minimumCopies
        self.overwrite = overwrite
    }
}

/// The result of a look at a member.
public struct MemberSurvey: Sendable {
    /// Its superblock, or the reason why that is not known.
    public var superblock: Result<Superblock, TercetError>
    /// The member can be read, and there is no record where one would be.
    public var isBlank = false
    /// The slot of its record that is damaged beside one that is not (`Superblock.read`).
    public var damagedSlot: Int?
    /// The hosts that have the volume attached, as `MemberProbe.presentHosts` finds out.
    public var presentHosts: [PresentHost]
}
