/// Fields of NVM commands that the I/O path reads without decoding the rest (NVM Command Set, "NVM Commands").
extension SubmissionEntry {
    /// Starting LBA (SLBA): dwords 10 and 11.
    @inlinable public var startingLBA: UInt64 {
        get { UInt64(cdw10) | UInt64(cdw11) << 32 }
        set {
            cdw10 = UInt32(truncatingIfNeeded: newValue)
            cdw11 = UInt32(truncatingIfNeeded: newValue >> 32)
        }
    }

    /// Logical blocks, 1 to 65536: NLB + 1.
    @inlinable public var blockCount: UInt32 { (cdw12 & 0xFFFF) + 1 }

    /// Force Unit Access (FUA): dword 12 bit 30.
    @inlinable public var isForceUnitAccess: Bool { cdw12 & 1 << 30 != 0 }

    /// Deallocate (DEAC) of Write Zeroes: dword 12 bit 25.
    @inlinable public var mayDeallocate: Bool { cdw12 & 1 << 25 != 0 }

    /// Protection Information (PRINFO): dword 12 bits 29:26.
    @inlinable public var protectionInformation: UInt8 { UInt8(truncatingIfNeeded: cdw12 >> 26) & 0xF }

    /// Register, Report, Acquire or Release of a reservation.
    @inlinable public var isReservation: Bool {
        switch opcode {
        case 0x0D, 0x0E, 0x11, 0x15: true
        default: false
        }
    }
}

/// One range of a Dataset Management command: 16 bytes (NVM Command Set, "Dataset Management command").
public struct DatasetManagementRange: BitwiseCopyable, Hashable, Sendable {
    /// Size on the wire, in bytes.
    @inlinable public static var byteCount: Int { 16 }
    /// Ranges of one command at most.
    @inlinable public static var maxCount: Int { 256 }

    /// Context Attributes: hints.
    public var contextAttributes: UInt32
    /// Length in logical blocks; 0 for an empty range.
    public var blockCount: UInt32
    /// Starting LBA.
    public var startingLBA: UInt64

    @inlinable
    public init(startingLBA: UInt64, blockCount: UInt32, contextAttributes: UInt32 = 0) {
        self.startingLBA = startingLBA
        self.blockCount = blockCount
        self.contextAttributes = contextAttributes
    }

    /// Copies the range out of 16 bytes at `bytes`.
    @inlinable
    public init(from bytes: UnsafeRawPointer) {
        contextAttributes = bytes.load32(at: 0)
        blockCount = bytes.load32(at: 4)
        startingLBA = bytes.load64(at: 8)
    }

    /// Writes 16 bytes to `bytes`.
    @inlinable
    public func store(to bytes: UnsafeMutableRawPointer) {
        bytes.store32(contextAttributes, at: 0)
        bytes.store32(blockCount, at: 4)
        bytes.store64(startingLBA, at: 8)
    }
}
