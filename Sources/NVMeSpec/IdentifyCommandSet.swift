/// I/O Command Set Independent Identify Namespace, CNS 08h (NVMe Base, "I/O Command Set Independent Identify Namespace
/// Data Structure").
public struct IdentifyIndependentNamespace: FixedStructure, Hashable {
    public static let byteCount = IdentifyStructure.byteCount

    /// Namespace Features (NSFEAT): `uniqueIdentifiers` is at the same bit as in Identify Namespace; others differ.
    public var features: NamespaceFeatures = []
    /// Namespace Multi-path I/O and Namespace Sharing Capabilities (NMIC).
    public var sharing: NamespaceSharing = []
    /// Reservation Capabilities (RESCAP).
    public var reservations: ReservationCapabilities = []
    /// ANA Group Identifier (ANAGRPID).
    public var anaGroup: UInt32 = 0
    /// Namespace Attributes (NSATTR).
    public var attributes: NamespaceAttributes = []
    /// Namespace Status (NSTAT).
    public var status: NamespaceStatus = []

    public init() {}

    public mutating func layout(_ fields: FieldCoder) {
        fields.field(&features, at: 0)
        fields.field(&sharing, at: 1)
        fields.field(&reservations, at: 2)
        fields.field(&anaGroup, at: 4)
        fields.field(&attributes, at: 8)
        fields.field(&status, at: 14)
    }
}

/// Namespace Status (NSTAT).
public struct NamespaceStatus: OptionSet, Hashable, Sendable, OpenValue {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Namespace Ready (NRDY).
    public static let ready = NamespaceStatus(rawValue: 1 << 0)
}

/// Identify Namespace specific to the NVM command set, CNS 05h with CSI 00h (NVM Command Set, "I/O Command Set Specific
/// Identify Namespace Data Structure").
public struct IdentifyNVMNamespace: FixedStructure, Hashable {
    public static let byteCount = IdentifyStructure.byteCount

    /// Logical Block Storage Tag Mask (LBSTM).
    public var storageTagMask: UInt64 = 0
    /// Protection Information Capabilities (PIC).
    public var protectionCapabilities: UInt8 = 0

    public init() {}

    public mutating func layout(_ fields: FieldCoder) {
        fields.field(&storageTagMask, at: 0)
        fields.field(&protectionCapabilities, at: 8)
    }
}

/// Identify Controller specific to the NVM command set, CNS 06h with CSI 00h (NVM Command Set, "I/O Command Set Specific
/// Identify Controller Data Structure"). Zeroes mean that the controller reports no limit.
public struct IdentifyNVMController: FixedStructure, Hashable {
    public static let byteCount = IdentifyStructure.byteCount

    /// Verify, Write Zeroes and Write Uncorrectable Size Limit (VSL, WZSL, WUSL): 2^n pages of CAP.MPSMIN.
    public var verifySizeLimit: UInt8 = 0
    /// Write Zeroes Size Limit (WZSL), likewise.
    public var writeZeroesSizeLimit: UInt8 = 0
    /// Write Uncorrectable Size Limit (WUSL), likewise.
    public var writeUncorrectableSizeLimit: UInt8 = 0
    /// Dataset Management Ranges Limit (DMRL): ranges of one command.
    public var datasetManagementRangesLimit: UInt8 = 0
    /// Dataset Management Range Size Limit (DMRSL): blocks of one range.
    public var datasetManagementRangeSizeLimit: UInt32 = 0
    /// Dataset Management Size Limit (DMSL): blocks of one command.
    public var datasetManagementSizeLimit: UInt64 = 0

    public init() {}

    public mutating func layout(_ fields: FieldCoder) {
        fields.field(&verifySizeLimit, at: 0)
        fields.field(&writeZeroesSizeLimit, at: 1)
        fields.field(&writeUncorrectableSizeLimit, at: 2)
        fields.field(&datasetManagementRangesLimit, at: 3)
        fields.field(&datasetManagementRangeSizeLimit, at: 4)
        fields.field(&datasetManagementSizeLimit, at: 8)
    }
}

/// Identify I/O Command Set, CNS 1Ch: combinations of command sets that a controller supports (NVMe Base, "Identify I/O
/// Command Set Data Structure"). Only the first combination is used here.
public struct IdentifyCommandSets: FixedStructure, Hashable {
    public static let byteCount = IdentifyStructure.byteCount

    /// I/O Command Set Vector of combination 0: a bit for each command set identifier.
    public var combination: UInt64 = 1 << UInt64(CommandSetIdentifier.nvm.rawValue)

    public init() {}

    public mutating func layout(_ fields: FieldCoder) { fields.field(&combination, at: 0) }
}
