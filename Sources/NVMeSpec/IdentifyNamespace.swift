import Base

/// Identify Namespace of the NVM command set, CNS 00h (NVM Command Set, "Identify Namespace Data Structure").
///
/// All zeroes stand for a namespace that is not active.
public struct IdentifyNamespace: FixedStructure, Hashable {
    public static let byteCount = IdentifyStructure.byteCount
    /// Formats that the structure has room for.
    public static let maxFormats = 64

    /// Namespace Size (NSZE), in logical blocks.
    public var size: UInt64 = 0
    /// Namespace Capacity (NCAP), in logical blocks.
    public var capacity: UInt64 = 0
    /// Namespace Utilization (NUSE), in logical blocks.
    public var utilization: UInt64 = 0
    /// Namespace Features (NSFEAT).
    public var features: NamespaceFeatures = []
    /// Formatted LBA Size (FLBAS): use `formatIndex`.
    public var formattedLBASize: UInt8 = 0
    /// End-to-end Data Protection Type Settings (DPS): 0 without protection information.
    public var protection: UInt8 = 0
    /// Namespace Multi-path I/O and Namespace Sharing Capabilities (NMIC).
    public var sharing: NamespaceSharing = []
    /// Reservation Capabilities (RESCAP).
    public var reservations: ReservationCapabilities = []
    /// Deallocate Logical Block Features (DLFEAT).
    public var deallocation: DeallocateFeatures = []
    /// Namespace Atomic Write Unit Normal, Power Fail, and Atomic Compare and Write Unit (NAWUN, NAWUPF, NACWU): blocks,
    /// 0-based; valid with `NamespaceFeatures.atomicWriteUnits`.
    public var atomicWriteUnit: UInt16 = 0
    /// Namespace Atomic Write Unit Power Fail (NAWUPF).
    public var atomicWriteUnitPowerFail: UInt16 = 0
    /// Namespace Atomic Compare and Write Unit (NACWU).
    public var atomicCompareAndWriteUnit: UInt16 = 0
    /// Namespace Optimal I/O Boundary (NOIOB), in blocks; 0 for none.
    public var optimalIOBoundary: UInt16 = 0
    /// NVM Capacity (NVMCAP), in bytes.
    public var totalCapacity: UInt64 = 0
    /// Namespace Preferred Write Granularity and Alignment, Deallocate Granularity and Alignment, Optimal Write Size
    /// (NPWG, NPWA, NPDG, NPDA, NOWS): blocks, 0-based; valid with `NamespaceFeatures.optimalPerformance`.
    public var preferredWriteGranularity: UInt16 = 0
    /// Namespace Preferred Write Alignment (NPWA).
    public var preferredWriteAlignment: UInt16 = 0
    /// Namespace Preferred Deallocate Granularity (NPDG).
    public var preferredDeallocateGranularity: UInt16 = 0
    /// Namespace Preferred Deallocate Alignment (NPDA).
    public var preferredDeallocateAlignment: UInt16 = 0
    /// Namespace Optimal Write Size (NOWS).
    public var optimalWriteSize: UInt16 = 0
    /// ANA Group Identifier (ANAGRPID).
    public var anaGroup: UInt32 = 0
    /// Namespace Attributes (NSATTR).
    public var attributes: NamespaceAttributes = []
    /// Namespace Globally Unique Identifier (NGUID); zeroes for none.
    public var nguid = UUIDBytes()
    /// IEEE Extended Unique Identifier (EUI64), the first byte highest; 0 for none.
    public var eui64: UInt64 = 0
    /// LBA Formats (NLBAF, LBAF0 to LBAF63): 1 to 64.
    public var formats: [LBAFormat] = [LBAFormat()]

    public init() {}

    /// An active namespace with one format.
    ///
    /// - Parameters:
    ///   - blockCount: size in logical blocks.
    ///   - blockSize: bytes of a logical block, a power of two.
    public init(blockCount: UInt64, blockSize: Int) {
        size = blockCount
        capacity = blockCount
        utilization = blockCount
        totalCapacity = blockCount.multipliedReportingOverflow(by: UInt64(blockSize)).partialValue
        formats = [LBAFormat(dataSizeShift: UInt8(blockSize.trailingZeroBitCount))]
    }

    public mutating func layout(_ fields: FieldCoder) {
        fields.field(&size, at: 0)
        fields.field(&capacity, at: 8)
        fields.field(&utilization, at: 16)
        fields.field(&features, at: 24)
        fields.field(&formattedLBASize, at: 26)
        fields.field(&protection, at: 29)
        fields.field(&sharing, at: 30)
        fields.field(&reservations, at: 31)
        fields.field(&deallocation, at: 33)
        fields.field(&atomicWriteUnit, at: 34)
        fields.field(&atomicWriteUnitPowerFail, at: 36)
        fields.field(&atomicCompareAndWriteUnit, at: 38)
        fields.field(&optimalIOBoundary, at: 46)
        fields.field(&totalCapacity, at: 48)
        fields.field(&preferredWriteGranularity, at: 64)
        fields.field(&preferredWriteAlignment, at: 66)
        fields.field(&preferredDeallocateGranularity, at: 68)
        fields.field(&preferredDeallocateAlignment, at: 70)
        fields.field(&optimalWriteSize, at: 72)
        fields.field(&anaGroup, at: 92)
        fields.field(&attributes, at: 99)
        fields.field(&nguid, at: 104)
        fields.bigEndian(&eui64, at: 120)
        var lastFormat = UInt8(clamping: formats.count - 1)
        fields.field(&lastFormat, at: 25)
        let count = min(Int(lastFormat) + 1, IdentifyNamespace.maxFormats)
        if formats.count != count { formats = [LBAFormat](repeating: LBAFormat(), count: count) }
        for index in 0..<count { formats[index].layout(fields, at: 128 + 4 * index) }
    }

    /// The format in use: FLBAS bits 6:5 and 3:0.
    public var formatIndex: Int { Int(formattedLBASize & 0xF | formattedLBASize >> 1 & 0x30) }

    /// Bytes of a logical block without metadata, or `nil` for a namespace that is not active.
    public var blockSize: Int? {
        guard size > 0, formatIndex < formats.count else { return nil }
        return formats[formatIndex].blockSize
    }

    /// An active namespace has a format, with blocks of 512 bytes or more, and a size in bytes of 64 bits.
    public func validate() throws(MalformedStructure) {
        guard size > 0 else { return }
        guard formatIndex < formats.count else {
            throw MalformedStructure("Identify Namespace", "format \(formatIndex) of \(formats.count)")
        }
        let shift = formats[formatIndex].dataSizeShift
        guard (9...30).contains(shift) else {
            throw MalformedStructure("Identify Namespace", "blocks of 2^\(shift) bytes")
        }
        guard size <= UInt64.max >> shift else {
            throw MalformedStructure("Identify Namespace", "\(size) blocks of 2^\(shift) bytes")
        }
    }
}

/// LBA Format (LBAF): 4 bytes.
public struct LBAFormat: Hashable, Sendable {
    /// Metadata Size (MS), in bytes for each block.
    public var metadataSize: UInt16 = 0
    /// LBA Data Size (LBADS): 2^n bytes; 0 if the format is not available.
    public var dataSizeShift: UInt8 = 0
    /// Relative Performance (RP): 0 best to 3 degraded.
    public var relativePerformance: UInt8 = 0

    public init(dataSizeShift: UInt8 = 0, metadataSize: UInt16 = 0, relativePerformance: UInt8 = 0) {
        self.dataSizeShift = dataSizeShift
        self.metadataSize = metadataSize
        self.relativePerformance = relativePerformance
    }

    /// Bytes of a logical block without metadata; `nil` if the format is not available.
    public var blockSize: Int? { (9...30).contains(dataSizeShift) ? 1 << Int(dataSizeShift) : nil }

    fileprivate mutating func layout(_ fields: FieldCoder, at offset: Int) {
        fields.field(&metadataSize, at: offset)
        fields.field(&dataSizeShift, at: offset + 2)
        fields.field(&relativePerformance, at: offset + 3)
    }
}

/// Namespace Features (NSFEAT).
public struct NamespaceFeatures: OptionSet, Hashable, Sendable, OpenValue {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Thin provisioning: capacity may be less than size.
    public static let thinProvisioning = NamespaceFeatures(rawValue: 1 << 0)
    /// NAWUN, NAWUPF and NACWU are the namespace's own.
    public static let atomicWriteUnits = NamespaceFeatures(rawValue: 1 << 1)
    /// Deallocated or Unwritten Logical Block errors.
    public static let deallocatedError = NamespaceFeatures(rawValue: 1 << 2)
    /// NGUID and EUI64 are not used again (UIDREUSE).
    public static let uniqueIdentifiers = NamespaceFeatures(rawValue: 1 << 3)
    /// NPWG, NPWA, NPDG, NPDA and NOWS are defined (OPTPERF).
    public static let optimalPerformance = NamespaceFeatures(rawValue: 1 << 4)
}

/// Namespace Multi-path I/O and Namespace Sharing Capabilities (NMIC).
public struct NamespaceSharing: OptionSet, Hashable, Sendable, OpenValue {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Several controllers may have the namespace attached.
    public static let shared = NamespaceSharing(rawValue: 1 << 0)
}

/// Reservation Capabilities (RESCAP).
public struct ReservationCapabilities: OptionSet, Hashable, Sendable, OpenValue {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Persist through power loss: bit 0.
    public static let persistThroughPowerLoss = ReservationCapabilities(rawValue: 1 << 0)
    /// Write exclusive: bit 1.
    public static let writeExclusive = ReservationCapabilities(rawValue: 1 << 1)
    /// Exclusive access: bit 2.
    public static let exclusiveAccess = ReservationCapabilities(rawValue: 1 << 2)
    /// Write exclusive registrants only: bit 3.
    public static let writeExclusiveRegistrantsOnly = ReservationCapabilities(rawValue: 1 << 3)
    /// Exclusive access registrants only: bit 4.
    public static let exclusiveAccessRegistrantsOnly = ReservationCapabilities(rawValue: 1 << 4)
    /// Write exclusive all registrants: bit 5.
    public static let writeExclusiveAllRegistrants = ReservationCapabilities(rawValue: 1 << 5)
    /// Exclusive access all registrants: bit 6.
    public static let exclusiveAccessAllRegistrants = ReservationCapabilities(rawValue: 1 << 6)
    /// Ignore Existing Key works as NVMe 1.3 and later define it.
    public static let ignoreExistingKey13 = ReservationCapabilities(rawValue: 1 << 7)
}

/// Deallocate Logical Block Features (DLFEAT).
public struct DeallocateFeatures: OptionSet, Hashable, Sendable, OpenValue {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Deallocated blocks read as zeroes: bits 2:0 are 001b.
    public static let readsZeroes = DeallocateFeatures(rawValue: 1 << 0)
    /// Write Zeroes may deallocate (DEAC).
    public static let writeZeroesDeallocates = DeallocateFeatures(rawValue: 1 << 3)
}

/// Namespace Attributes (NSATTR).
public struct NamespaceAttributes: OptionSet, Hashable, Sendable, OpenValue {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// The namespace is write protected.
    public static let writeProtected = NamespaceAttributes(rawValue: 1 << 0)
}
