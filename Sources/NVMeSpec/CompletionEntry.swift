/// A completion queue entry: the answer to a command, 16 bytes (NVMe Base, "Common Completion Queue Entry").
///
/// On a fabric there is no phase tag: its bit is written as 0 and not read.
public struct CompletionEntry: BitwiseCopyable, Hashable, Sendable {
    /// Size on the wire, in bytes.
    @inlinable public static var byteCount: Int { 16 }

    /// Dwords 0 (low half) and 1: what the command defines; 8 bytes for Property Get.
    public var result: UInt64 = 0
    /// Submission Queue Head Pointer (SQHD); FFFFh if flow control is off.
    public var sqHead: UInt16 = 0
    /// Submission Queue Identifier (SQID); reserved on a fabric.
    public var sqID: UInt16 = 0
    /// Command identifier (CID) of the command.
    public var commandID: UInt16 = 0
    /// Status Field.
    public var status = Status.success

    /// The last 8 bytes but the queue: command identifier and Status Field where they are on the wire (little endian).
    @inlinable public var identifierAndStatus: UInt64 { UInt64(commandID) << 32 | UInt64(status.field) << 48 }

    @inlinable
    public init(
        result: UInt64 = 0, sqHead: UInt16 = 0, sqID: UInt16 = 0, commandID: UInt16 = 0, status: Status = .success
    ) {
        self.result = result
        self.sqHead = sqHead
        self.sqID = sqID
        self.commandID = commandID
        self.status = status
    }

    /// Copies the entry out of 16 bytes at `bytes`, at any alignment.
    @inlinable
    public init(from bytes: UnsafeRawPointer) {
        result = bytes.load64(at: 0)
        sqHead = bytes.load16(at: 8)
        sqID = bytes.load16(at: 10)
        commandID = bytes.load16(at: 12)
        status = Status(field: bytes.load16(at: 14))
    }

    /// Writes all 16 bytes of the entry to `bytes`, at any alignment.
    @inlinable
    public func store(to bytes: UnsafeMutableRawPointer) {
        bytes.store64(result, at: 0)
        bytes.store16(sqHead, at: 8)
        bytes.store16(sqID, at: 10)
        bytes.store16(commandID, at: 12)
        bytes.store16(status.field, at: 14)
    }

    /// Dword 0 of the result.
    @inlinable public var dword0: UInt32 { UInt32(truncatingIfNeeded: result) }
}
