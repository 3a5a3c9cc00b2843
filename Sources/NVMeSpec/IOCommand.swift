import Base

/// A command of an I/O queue, decoded (NVM Command Set, "NVM Commands"; NVMe Base, "I/O Commands").
///
/// Fused commands are decoded as what they are; `SubmissionEntry.fusedOperation` says that they belong together.
public enum IOCommand: Hashable, Sendable, BitwiseCopyable {
    case flush
    case write(BlockCommand)
    case read(BlockCommand)
    case compare(BlockCommand)
    case writeZeroes(BlockCommand)
    case verify(BlockCommand)
    case datasetManagement(DatasetManagementCommand)
    case reservationRegister(ReservationRegisterCommand)
    case reservationReport(ReservationReportCommand)
    case reservationAcquire(ReservationAcquireCommand)
    case reservationRelease(ReservationReleaseCommand)
    /// Not a command that a controller of ours executes: answer with the status.
    case invalid(Status)

    /// Decodes an entry of an I/O queue that is not a Fabrics command.
    @inlinable
    @inline(__always)
    public init(_ entry: SubmissionEntry) {
        switch NVMOpcode(rawValue: entry.opcode) {
        case .flush: self = .flush
        case .write: self = .write(BlockCommand(entry))
        case .read: self = .read(BlockCommand(entry))
        case .compare: self = .compare(BlockCommand(entry))
        case .writeZeroes: self = .writeZeroes(BlockCommand(entry))
        case .verify: self = .verify(BlockCommand(entry))
        case .datasetManagement: self = .datasetManagement(DatasetManagementCommand(entry))
        case .reservationRegister: self = IOCommand(register: entry)
        case .reservationReport: self = .reservationReport(ReservationReportCommand(entry))
        case .reservationAcquire: self = IOCommand(acquire: entry)
        case .reservationRelease: self = IOCommand(release: entry)
        case .writeUncorrectable, .copy, nil: self = .invalid(.invalidOpcode)
        }
    }
}

/// The fields of Read, Write, Compare, Verify and Write Zeroes.
public struct BlockCommand: Hashable, Sendable, BitwiseCopyable {
    /// Starting LBA (SLBA).
    public var startingLBA: UInt64
    /// Logical blocks, 1 to 65536: NLB + 1.
    public var blockCount: UInt32
    /// The upper half of dword 12.
    public var flags: BlockCommandFlags

    @inlinable
    public init(startingLBA: UInt64, blockCount: UInt32, flags: BlockCommandFlags = []) {
        self.startingLBA = startingLBA
        self.blockCount = blockCount
        self.flags = flags
    }

    @inlinable
    @inline(__always)
    init(_ entry: SubmissionEntry) {
        startingLBA = entry.startingLBA
        blockCount = entry.blockCount
        flags = BlockCommandFlags(rawValue: UInt16(truncatingIfNeeded: entry.cdw12 >> 16))
    }
}

/// The upper half of dword 12 of Read, Write, Compare, Verify and Write Zeroes.
public struct BlockCommandFlags: OptionSet, Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt16
    @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }
    /// Storage Tag Check (STC).
    @inlinable public static var storageTagCheck: BlockCommandFlags { BlockCommandFlags(rawValue: 1 << 8) }
    /// Deallocate (DEAC), of Write Zeroes.
    @inlinable public static var deallocate: BlockCommandFlags { BlockCommandFlags(rawValue: 1 << 9) }
    /// Protection Information Check (PRCHK), reference tag.
    @inlinable public static var checkReferenceTag: BlockCommandFlags { BlockCommandFlags(rawValue: 1 << 10) }
    /// Protection Information Check (PRCHK), application tag.
    @inlinable public static var checkApplicationTag: BlockCommandFlags { BlockCommandFlags(rawValue: 1 << 11) }
    /// Protection Information Check (PRCHK), guard.
    @inlinable public static var checkGuard: BlockCommandFlags { BlockCommandFlags(rawValue: 1 << 12) }
    /// Protection Information Action (PRACT).
    @inlinable public static var protectionAction: BlockCommandFlags { BlockCommandFlags(rawValue: 1 << 13) }
    /// Force Unit Access (FUA).
    @inlinable public static var forceUnitAccess: BlockCommandFlags { BlockCommandFlags(rawValue: 1 << 14) }
    /// Limited Retry (LR).
    @inlinable public static var limitedRetry: BlockCommandFlags { BlockCommandFlags(rawValue: 1 << 15) }
}

/// Dataset Management; its data is a list of `DatasetManagementRange`.
public struct DatasetManagementCommand: Hashable, Sendable, BitwiseCopyable {
    /// Ranges, 1 to 256: NR + 1.
    public var rangeCount: Int
    /// Attributes: dword 11.
    public var attributes: DatasetManagementAttributes

    @inlinable
    public init(rangeCount: Int, attributes: DatasetManagementAttributes) {
        invariant((1...256).contains(rangeCount), "a Dataset Management command has 1 to 256 ranges")
        self.rangeCount = rangeCount
        self.attributes = attributes
    }

    @inlinable
    init(_ entry: SubmissionEntry) {
        rangeCount = Int(entry.cdw10 & 0xFF) + 1
        attributes = DatasetManagementAttributes(rawValue: UInt8(truncatingIfNeeded: entry.cdw11) & 7)
    }
}

/// Attributes of Dataset Management: dword 11.
public struct DatasetManagementAttributes: OptionSet, Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt8
    @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Integral Dataset for Read (IDR).
    @inlinable public static var integralRead: DatasetManagementAttributes { .init(rawValue: 1 << 0) }
    /// Integral Dataset for Write (IDW).
    @inlinable public static var integralWrite: DatasetManagementAttributes { .init(rawValue: 1 << 1) }
    /// Deallocate (AD).
    @inlinable public static var deallocate: DatasetManagementAttributes { .init(rawValue: 1 << 2) }
}

extension SubmissionEntry {
    /// The entry of an I/O command. `.invalid` traps.
    @inlinable
    @inline(__always)
    public init(
        _ command: IOCommand, nsid: UInt32, commandID: UInt16, data: SGLDescriptor = .none,
        fused: FusedOperation = .none
    ) {
        self.init()
        dataPointer = data.bytes
        encode(command, nsid: nsid, commandID: commandID, fused: fused)
    }

    /// Makes an entry of zeroes that of an I/O command, whose data pointer is set apart. `.invalid` traps.
    @inlinable
    @inline(__always)
    public mutating func encode(
        _ command: IOCommand, nsid: UInt32, commandID: UInt16, fused: FusedOperation = .none
    ) {
        flags = SubmissionEntry.sglFlags | fused.rawValue
        self.commandID = commandID
        self.nsid = nsid
        switch command {
        case .flush: opcode = NVMOpcode.flush.rawValue
        case .write(let command): encode(.write, command)
        case .read(let command): encode(.read, command)
        case .compare(let command): encode(.compare, command)
        case .writeZeroes(let command): encode(.writeZeroes, command)
        case .verify(let command): encode(.verify, command)
        case .datasetManagement(let command):
            opcode = NVMOpcode.datasetManagement.rawValue
            cdw10 = UInt32(command.rangeCount - 1)
            cdw11 = UInt32(command.attributes.rawValue)
        case .reservationRegister(let command): encode(command)
        case .reservationReport(let command): encode(command)
        case .reservationAcquire(let command): encode(command)
        case .reservationRelease(let command): encode(command)
        case .invalid: invariantViolated("an invalid command is never sent")
        }
    }

    @inlinable
    @inline(__always)
    mutating func encode(_ opcode: NVMOpcode, _ command: BlockCommand) {
        invariant(command.blockCount >= 1 && command.blockCount <= 65536, "NLB holds 1 to 65536 blocks")
        self.opcode = opcode.rawValue
        startingLBA = command.startingLBA
        cdw12 = (command.blockCount - 1) | UInt32(command.flags.rawValue) << 16
    }
}
