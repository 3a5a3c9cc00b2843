import Base
import BlockInterface
import NVMeSpec

/// The progress of a command at its block device.
struct BlockProgress: BitwiseCopyable {
    /// The channel whose share of buffers and memory the request takes from.
    private(set) var channel = ChannelIndex.none
    /// The generation of the namespace that the command was checked against.
    private var generation: UInt32 = 0
    /// Operations that have not ended.
    private(set) var running: UInt16 = 0
    /// The next Dataset Management range to hand to the device.
    private(set) var nextRange: UInt16 = 0

    /// The command is for a namespace.
    @inline(__always)
    mutating func begin(_ namespace: NamespaceSlot) {
        channel = namespace.channel
        generation = namespace.generation
    }

    /// Whether a namespace is the one that the command was checked against.
    @inline(__always)
    func isFor(_ namespace: NamespaceSlot) -> Bool { namespace.generation == generation }

    @inline(__always)
    mutating func submitted() { running += 1 }

    @inline(__always)
    mutating func ended() {
        invariant(running > 0, "a block operation ends once")
        running -= 1
    }

    mutating func rangeDone() { nextRange += 1 }
}

extension Status {
    /// The NVMe status of a block device's answer (NVM Command Set, "Media and Data Integrity Errors"). `RetryTable` says where
    /// it is answered whether the host may try again.
    init(_ status: BlockStatus, isRead: Bool) {
        switch status {
        case .success: self = .success
        case .outOfRange: self = .lbaOutOfRange
        case .unrecoveredReadError: self = .unrecoveredReadError
        case .writeFault: self = .writeFault
        case .capacityExceeded: self = .capacityExceeded
        case .compareFailure: self = .compareFailure
        case .unsupported: self = .invalidOpcode
        case .writeProtected: self = .namespaceIsWriteProtected
        case .deviceGone: self = .namespaceNotReady
        // Hosts ask for the state of the path, and try this one or another again.
        case .unavailable: self = .asymmetricAccessInaccessible
        case .fenced: self = .asymmetricAccessPersistentLoss
        case .aborted: self = .commandAbortRequested
        case .internalError: self = isRead ? .unrecoveredReadError : .writeFault
        }
    }
}
