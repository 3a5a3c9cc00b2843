import Base
import NVMeSpec

/// A command's place among those that one connection may have under way.
public struct CommandIndex: SlotIndex {
    public let position: UInt32
    @inlinable public init(position: UInt32) { self.position = position }
}

/// Command identifiers (CID): the command's place in the low bits, above it a number that is raised with each use, so that an
/// answer that comes twice is recognised. A transport finds by the place what it keeps for the command.
public enum CommandIdentifier {
    @inlinable public static var indexBits: UInt16 { 10 }
    @inlinable public static var generationMask: UInt8 { UInt8((1 << (16 - indexBits)) - 1) }

    @inlinable
    @inline(__always)
    public static func make(_ index: CommandIndex, generation: UInt8) -> UInt16 {
        UInt16(truncatingIfNeeded: index.position) | UInt16(generation & generationMask) << indexBits
    }

    @inlinable
    @inline(__always)
    public static func index(of identifier: UInt16) -> CommandIndex {
        CommandIndex(position: UInt32(identifier & ((1 << indexBits) - 1)))
    }

    @inlinable
    @inline(__always)
    public static func generation(of identifier: UInt16) -> UInt8 { UInt8(truncatingIfNeeded: identifier >> indexBits) }
}

/// A command to send, and the memory of its data.
///
/// Unchecked: the memory that its data names is the caller's until the command is over.
public struct CommandCapsule: BitwiseCopyable, @unchecked Sendable {
    public var connection: HostConnectionIndex
    public var index: CommandIndex
    /// The command; its data pointer is the transport's to fill.
    public var entry: SubmissionEntry
    public var data: CommandData

    @inlinable
    public init(
        connection: HostConnectionIndex, index: CommandIndex, entry: SubmissionEntry, data: CommandData = CommandData()
    ) {
        self.connection = connection
        self.index = index
        self.entry = entry
        self.data = data
    }
}

/// The memory of one command's data, which the command's opcode says the direction of. Nobody else touches it until the command
/// has been answered and released.
///
/// Unchecked: for the same reason the pointers may go to another thread.
public struct CommandData: BitwiseCopyable, @unchecked Sendable {
    /// Bytes; 0 for no data.
    public var byteCount: Int
    /// The first piece, or its rest; where it is longer than `byteCount`, that much of it.
    public var first: IOSegment
    /// The pieces that follow the first one, where it is too short.
    public var further: UnsafePointer<IOSegment>?
    /// The data is all that the first piece is ever used for: its key is needed for no other command.
    public var isWhole: Bool

    /// No data.
    @inlinable
    public init() {
        byteCount = 0
        first = IOSegment(address: CommandData.nowhere, length: 0, localKey: 0, remoteKey: 0)
        further = nil
        isWhole = false
    }

    @inlinable
    public init(_ byteCount: Int, first: IOSegment, further: UnsafePointer<IOSegment>? = nil, isWhole: Bool) {
        self.byteCount = byteCount
        self.first = first
        self.further = further
        self.isWhole = isWhole
    }

    /// An address for memory of no bytes.
    @inlinable static var nowhere: UnsafeMutableRawPointer { UnsafeMutableRawPointer(bitPattern: 1).unsafelyUnwrapped }
}

/// One of the two ends of a command that was sent.
public struct CommandEvent: BitwiseCopyable, Sendable {
    public enum Kind: UInt8, BitwiseCopyable, Sendable {
        /// The controller has answered.
        case answered
        /// The transport has sent the capsule, and reads neither it nor the data that travelled in it any more.
        case released
    }

    public var kind: Kind
    public var connection: HostConnectionIndex
    /// The command that was released.
    public var index: CommandIndex
    /// The answer, as it came: nothing about it has been checked but its size.
    public var answer: CompletionEntry

    @inlinable
    public init(released index: CommandIndex, _ connection: HostConnectionIndex) {
        kind = .released
        self.connection = connection
        self.index = index
        answer = CompletionEntry()
    }

    @inlinable
    public init(answered answer: CompletionEntry, _ connection: HostConnectionIndex) {
        kind = .answered
        self.connection = connection
        index = .none
        self.answer = answer
    }
}
