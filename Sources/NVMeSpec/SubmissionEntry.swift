/// A submission queue entry: the command, 64 bytes (NVMe Base, "Common Command Format").
///
/// Plain fields in the order of the wire. `init(from:)` copies them out of the peer's bytes once; nothing reads those
/// bytes again, so that a peer who changes them afterwards changes nothing.
public struct SubmissionEntry: BitwiseCopyable, Hashable, Sendable {
    /// Size on the wire, in bytes.
    @inlinable public static var byteCount: Int { 64 }
    /// The place of the data pointer (DPTR), in bytes.
    @inlinable public static var dataPointerOffset: Int { 24 }

    /// Opcode (OPC).
    public var opcode: UInt8 = 0
    /// FUSE in bits 1:0 and PSDT in bits 7:6.
    public var flags: UInt8 = 0
    /// Command identifier (CID); comes back with the completion.
    public var commandID: UInt16 = 0
    /// Namespace identifier (NSID). In a Fabrics command the low byte is FCTYPE.
    public var nsid: UInt32 = 0
    /// Command Dword 2.
    public var cdw2: UInt32 = 0
    /// Command Dword 3.
    public var cdw3: UInt32 = 0
    /// Metadata pointer (MPTR).
    public var metadataPointer: UInt64 = 0
    /// SGL1, undecoded; `SGLDescriptor(_:)` decodes it.
    public var dataPointer = SGLDescriptor.Bytes()
    /// Command Dword 10.
    public var cdw10: UInt32 = 0
    /// Command Dword 11.
    public var cdw11: UInt32 = 0
    /// Command Dword 12.
    public var cdw12: UInt32 = 0
    /// Command Dword 13.
    public var cdw13: UInt32 = 0
    /// Command Dword 14.
    public var cdw14: UInt32 = 0
    /// Command Dword 15.
    public var cdw15: UInt32 = 0

    /// An entry of zeroes.
    @inlinable public init() {}

    /// Command dword 0 and the namespace, as they are on the wire (little endian).
    @inlinable public var leadingBytes: UInt64 {
        UInt64(opcode) | UInt64(flags) << 8 | UInt64(commandID) << 16 | UInt64(nsid) << 32
    }

    /// Copies the entry out of 64 bytes at `bytes`, at any alignment.
    @inlinable
    public init(from bytes: UnsafeRawPointer) {
        opcode = bytes.load8(at: 0)
        flags = bytes.load8(at: 1)
        commandID = bytes.load16(at: 2)
        nsid = bytes.load32(at: 4)
        cdw2 = bytes.load32(at: 8)
        cdw3 = bytes.load32(at: 12)
        metadataPointer = bytes.load64(at: 16)
        dataPointer = SGLDescriptor.Bytes(from: bytes + 24)
        cdw10 = bytes.load32(at: 40)
        cdw11 = bytes.load32(at: 44)
        cdw12 = bytes.load32(at: 48)
        cdw13 = bytes.load32(at: 52)
        cdw14 = bytes.load32(at: 56)
        cdw15 = bytes.load32(at: 60)
    }

    /// Writes all 64 bytes of the entry to `bytes`, at any alignment.
    @inlinable
    public func store(to bytes: UnsafeMutableRawPointer) {
        bytes.store8(opcode, at: 0)
        bytes.store8(flags, at: 1)
        bytes.store16(commandID, at: 2)
        bytes.store32(nsid, at: 4)
        bytes.store32(cdw2, at: 8)
        bytes.store32(cdw3, at: 12)
        bytes.store64(metadataPointer, at: 16)
        dataPointer.store(to: bytes + 24)
        bytes.store32(cdw10, at: 40)
        bytes.store32(cdw11, at: 44)
        bytes.store32(cdw12, at: 48)
        bytes.store32(cdw13, at: 52)
        bytes.store32(cdw14, at: 56)
        bytes.store32(cdw15, at: 60)
    }
}

/// Fused Operation (FUSE) of a command.
public enum FusedOperation: UInt8, Sendable, BitwiseCopyable {
    case none = 0
    case first = 1
    case second = 2
    case reserved = 3
}

/// Fields that are common to commands.
extension SubmissionEntry {
    /// Fused Operation: flags bits 1:0.
    @inlinable public var fusedOperation: FusedOperation { FusedOperation(rawValue: flags & 3) ?? .reserved }

    /// Whether the command is half of a fused operation, or says something reserved there.
    @inlinable public var isFused: Bool { flags & 3 != 0 }

    /// PSDT 01b or 10b. Every capsule on a fabric uses SGLs (NVMe-oF, "Command Capsules").
    @inlinable public var usesSGL: Bool { flags >> 6 == 1 || flags >> 6 == 2 }

    /// The flags of a command whose data is described by an SGL: PSDT 01b.
    @inlinable public static var sglFlags: UInt8 { 0x40 }

    /// FCTYPE of a Fabrics command.
    @inlinable public var fabricsCommandType: UInt8 { UInt8(truncatingIfNeeded: nsid) }

    /// Data goes from the host to the controller: bits 1:0 of the opcode, or of FCTYPE, are 01b (NVMe Base, "Opcode";
    /// NVMe-oF, "Fabrics Command Type").
    @inlinable public var sendsData: Bool { transferBits == 1 }

    /// Data goes from the controller to the host: bits 1:0 of the opcode, or of FCTYPE, are 10b.
    @inlinable public var receivesData: Bool { transferBits == 2 }

    @inlinable
    @inline(__always)
    var transferBits: UInt8 { (opcode == FabricsCommandType.opcode ? fabricsCommandType : opcode) & 3 }
}
