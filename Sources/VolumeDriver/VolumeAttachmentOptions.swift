import Base
import Replication

/// Which volume to attach, as whom, and how long to wait. The volume's own properties are read from its members.
public struct VolumeAttachmentOptions: Sendable {
    public var members: [MemberAddress]
    /// A registry's word on the volume: a volume that is another one is not attached; `nil` if there is none.
    public var expected: ExpectedVolume?
    public var hostNQN: String
    /// Fresh for each attachment: to a reservation, a host identifier is a host.
    public var hostID: UUIDBytes
    /// The lower half of this attachment's reservation key, other than 0; `nil` for a random number.
    public var nonce: UInt32?
    /// A host that has the volume attached is fenced; without this such a volume is left alone.
    public var takesOver = false
    /// I/Os under way at once.
    public var queueDepth = 64
    /// Members that are not used in this attachment.
    public var excluded: MemberSet = []
    /// The volume is served also where acknowledged writes may be lost by that (`VolumeConfiguration.acceptsLoss`).
    public var acceptsLoss = false
    /// The size in bytes that the namespaces had when the volume was last attached, where they have been enlarged since;
    /// 0 where they have not.
    public var formattedBytes: UInt64 = 0
    /// An attachment is complete also when the volume only waits for enough members.
    public var mayBeSuspended = false
    public var suspendPolicy = SuspendPolicy.wait
    /// Keep-alive timeout towards the members, in milliseconds.
    public var keepAliveMilliseconds: UInt32 = 2000
    /// A member's command that takes longer means that its connection is given up.
    public var commandTimeoutMilliseconds: UInt32 = 5000
    /// Bytes of registered memory that the volume gives out, and copies I/O through whose memory is not registered.
    public var bufferBytes = 64 << 20
    /// Registrations of memory that it shares with other volumes of its group; `nil` for its own.
    public var registrations: SharedRegistrations?
    /// The whole time for the attach; `nil` for no limit but `patienceMilliseconds`.
    public var attachTimeoutMilliseconds: UInt64?
    /// The attach is given up when no member has come further for so long; `nil` for never.
    public var patienceMilliseconds: UInt64?

    public init(members: [MemberAddress], hostNQN: String, hostID: UUIDBytes) {
        self.members = members
        self.hostNQN = hostNQN
        self.hostID = hostID
    }

    /// The options of the volume whose newest record is `superblock`.
    func volume(_ superblock: Superblock) -> VolumeOptions {
        var configuration = VolumeConfiguration(volume: superblock.volume, blockSize: superblock.geometry.blockSize)
        configuration.queueDepth = queueDepth
        configuration.formattedBlocks = superblock.members.map(\.blocks)
        configuration.excluded = excluded
        configuration.acceptsLoss = acceptsLoss
        configuration.suspendPolicy = suspendPolicy
        configuration.clock = MonotonicClock.identity
        configuration.commandTimeout = UInt64(commandTimeoutMilliseconds) * 1_000_000
        var options = VolumeOptions(
            members: members, hostNQN: hostNQN, hostID: hostID, configuration: configuration,
            keepAliveMilliseconds: keepAliveMilliseconds, bufferBytes: bufferBytes)
        options.registrations = registrations
        return options
    }
}
