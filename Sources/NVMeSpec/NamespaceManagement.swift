import Base

/// Namespace Management (NVMe Base, "Namespace Management command"): makes a namespace, or deletes it.
public struct NamespaceManagementCommand: Hashable, Sendable, BitwiseCopyable {
    /// Select (SEL).
    public enum Action: UInt8, Sendable, BitwiseCopyable {
        /// The data is a `NamespaceCreationData`, NSID is 0, and dword 0 of the completion says the namespace's identifier.
        case create = 0
        /// NSID FFFFFFFFh means all namespaces. There is no data.
        case delete = 1
    }

    public var action: Action
    /// Command Set Identifier (CSI) of a namespace that is made.
    public var commandSet: CommandSetIdentifier

    /// NSID of a command that is for all namespaces.
    public static let allNamespaces: UInt32 = 0xFFFF_FFFF

    public init(_ action: Action, commandSet: CommandSetIdentifier = .nvm) {
        self.action = action
        self.commandSet = commandSet
    }

    /// `nil` if the action is reserved.
    init?(_ entry: SubmissionEntry) {
        guard let action = Action(rawValue: UInt8(entry.cdw10.bits(0, 4))) else { return nil }
        self.init(action, commandSet: CommandSetIdentifier(rawValue: UInt8(entry.cdw11.bits(24, 8))))
    }
}

/// Namespace Attachment (NVMe Base, "Namespace Attachment command"): its data is a `ControllerList`.
public struct NamespaceAttachmentCommand: Hashable, Sendable, BitwiseCopyable {
    /// Select (SEL).
    public enum Action: UInt8, Sendable, BitwiseCopyable {
        case attach = 0
        case detach = 1
    }

    public var action: Action

    public init(_ action: Action) { self.action = action }

    /// `nil` if the action is reserved.
    init?(_ entry: SubmissionEntry) {
        guard let action = Action(rawValue: UInt8(entry.cdw10.bits(0, 4))) else { return nil }
        self.init(action)
    }
}

/// The data of a Namespace Management command that makes a namespace: 4096 bytes with the offsets of Identify Namespace (NVM
/// Command Set, "Namespace Management Command: host software specified fields").
public struct NamespaceCreationData: FixedStructure, Hashable {
    public static let byteCount = IdentifyStructure.byteCount

    /// Namespace Size (NSZE), in logical blocks.
    public var size: UInt64 = 0
    /// Namespace Capacity (NCAP), in logical blocks; less than `size` asks for thin provisioning.
    public var capacity: UInt64 = 0
    /// Formatted LBA Size (FLBAS): an index of the formats in bits 6:5 and 3:0.
    public var formattedLBASize: UInt8 = 0
    /// End-to-end Data Protection Type Settings (DPS).
    public var protection: UInt8 = 0
    /// Namespace Multi-path I/O and Namespace Sharing Capabilities (NMIC).
    public var sharing: NamespaceSharing = []
    /// ANA Group Identifier (ANAGRPID); 0 leaves it to the controller.
    public var anaGroup: UInt32 = 0
    /// NVM Set Identifier (NVMSETID); 0 leaves it to the controller.
    public var nvmSet: UInt16 = 0
    /// Endurance Group Identifier (ENDGID); 0 leaves it to the controller.
    public var enduranceGroup: UInt16 = 0
    /// The UUID and NGUID that the namespace is to have, in bytes that the specification leaves free, behind a mark; zero leaves it to
    /// the controller. A target that says `TercetIdentity.Abilities.poolRequests` heeds it: the same command again finds the namespace.
    public var uuid = UUIDBytes()

    private static let mark: UInt64 = 0x7465_6372_6574_3033

    public init() {}

    /// A namespace without thin provisioning.
    ///
    /// - Parameter blockCount: size in logical blocks.
    public init(blockCount: UInt64) {
        size = blockCount
        capacity = blockCount
    }

    public mutating func layout(_ fields: FieldCoder) {
        fields.field(&size, at: 0)
        fields.field(&capacity, at: 8)
        fields.field(&formattedLBASize, at: 26)
        fields.field(&protection, at: 29)
        fields.field(&sharing, at: 30)
        fields.field(&anaGroup, at: 92)
        fields.field(&nvmSet, at: 100)
        fields.field(&enduranceGroup, at: 102)
        var mark = uuid.isZero ? 0 : Self.mark
        fields.field(&mark, at: 3072)
        fields.field(&uuid, at: 3080)
        if mark != Self.mark { uuid = UUIDBytes() }
    }
}

/// Growth of a pool's namespace: a vendor specific admin command of Tercet's targets, for the hosts that may manage the pool. NVMe
/// has no command that changes a namespace's size. `TercetIdentity.Abilities.poolRequests` says whether a target has this one.
public struct NamespaceGrowthCommand: Hashable, Sendable, BitwiseCopyable {
    /// Vendor specific, without data (NVMe Base, "Opcodes for Admin Commands").
    public static let opcode: UInt8 = 0xC4
    /// Logical blocks that the namespace is to have, no fewer than it has: dwords 10 and 11.
    public var blockCount: UInt64

    public init(blockCount: UInt64) { self.blockCount = blockCount }

    init(_ entry: SubmissionEntry) { blockCount = UInt64(entry.cdw10) | UInt64(entry.cdw11) << 32 }
}
