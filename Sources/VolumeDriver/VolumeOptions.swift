import Base
import NVMeSpec
import Replication

/// Which volume to attach, where its members are, and as whom.
public struct VolumeOptions: Sendable {
    public var members: [MemberAddress]
    public var hostNQN: String
    /// Fresh for each attachment: to a reservation, a host identifier is a host (invariant 5).
    public var hostID: UUIDBytes
    public var configuration: VolumeConfiguration
    /// Keep-alive timeout towards the members, in milliseconds. A member that is lost without a word may hold commands for
    /// so long; one that counts any traffic for twice as long, because it looks once in each timeout whether there was some
    /// (NVMe Base 2.0, "Traffic Based Keep Alive Support").
    public var keepAliveMilliseconds: UInt32
    /// Command Quiesce Time, in milliseconds: how long a target may take to end an association's commands after it has
    /// noticed the loss (NVMe Base, "Command Quiesce Time"). Targets do not tell; 1 s is generous.
    public var commandQuiesceMilliseconds: UInt64
    /// Time for a connection to be made, in milliseconds.
    public var connectTimeoutMilliseconds: UInt32
    /// Bytes of registered memory for the volume's user.
    public var bufferBytes: Int
    /// Commands on each member's queue.
    public var queueEntries: Int
    /// Registrations that it shares with other volumes of its group; `nil` for its own.
    public var registrations: SharedRegistrations?
    /// A bug, for tests that show that it is noticed.
    package var deliberateDefect = VolumeDefect.none

    public init(
        members: [MemberAddress], hostNQN: String, hostID: UUIDBytes, configuration: VolumeConfiguration,
        keepAliveMilliseconds: UInt32 = 2000, commandQuiesceMilliseconds: UInt64 = 1000,
        connectTimeoutMilliseconds: UInt32 = 1000, bufferBytes: Int = 64 << 20,
        queueEntries: Int = 128
    ) {
        self.members = members
        self.hostNQN = hostNQN
        self.hostID = hostID
        self.configuration = configuration
        self.keepAliveMilliseconds = keepAliveMilliseconds
        self.commandQuiesceMilliseconds = commandQuiesceMilliseconds
        self.connectTimeoutMilliseconds = connectTimeoutMilliseconds
        self.bufferBytes = bufferBytes
        self.queueEntries = queueEntries
    }
}

/// Events that a volume tells its user.
public enum VolumeEvent: Sendable {
    case phase(VolumePhase)
    case notice(VolumeNotice)
    case attachFailed(AttachError)
    /// A connection to a member could not be made, or ended; with the reason.
    case memberUnreachable(MemberIndex, reason: String)
}

/// Takes the ends of a volume's I/O as the engine tells them, on the group's thread; for the simulation.
open class VolumeSink {
    public init() {}
    /// I/Os have ended; their buffers are the caller's again. New ones may be submitted from here.
    open func completed(_ completions: UnsafeBufferPointer<HostCompletion>) {}
}

extension AttachError {
    /// Why the attach was given up, for people.
    public var explanation: String {
        switch self {
        case .metadata(let error): error.description
        case .superseded(let member): "another host attached at the same time (seen on member \(member))"
        case .abandoned: "it was let go"
        case .epochExhausted(let member):
            "member \(member): its record or its reservations tell epoch \(UInt32.max), the greatest there is; attach "
                + "without it and replace the member, or create the volume anew"
        }
    }
}
