/// Commands Supported and Effects log page: 4096 bytes (NVMe Base, "Commands Supported and Effects (Log Page Identifier
/// 05h)").
public struct CommandEffectsLog: FixedStructure, Hashable {
    public static let byteCount = 4096

    /// Effects of admin commands (ACS), by opcode.
    public private(set) var admin = [CommandEffects](repeating: [], count: 256)
    /// Effects of I/O commands (IOCS), by opcode.
    public private(set) var io = [CommandEffects](repeating: [], count: 256)

    public init() {}

    /// Effects of an admin command.
    public subscript(opcode: AdminOpcode) -> CommandEffects {
        get { admin[Int(opcode.rawValue)] }
        set { admin[Int(opcode.rawValue)] = newValue }
    }

    /// Effects of an I/O command.
    public subscript(opcode: NVMOpcode) -> CommandEffects {
        get { io[Int(opcode.rawValue)] }
        set { io[Int(opcode.rawValue)] = newValue }
    }

    /// Effects of `QuiesceCommand`, which is vendor specific.
    public var quiesce: CommandEffects {
        get { admin[Int(QuiesceCommand.opcode)] }
        set { admin[Int(QuiesceCommand.opcode)] = newValue }
    }

    /// Effects of `NamespaceGrowthCommand`, which is vendor specific.
    public var namespaceGrowth: CommandEffects {
        get { admin[Int(NamespaceGrowthCommand.opcode)] }
        set { admin[Int(NamespaceGrowthCommand.opcode)] = newValue }
    }

    /// Effects of the Fabrics commands.
    public var fabrics: CommandEffects {
        get { admin[Int(FabricsCommandType.opcode)] }
        set { admin[Int(FabricsCommandType.opcode)] = newValue }
    }

    public mutating func layout(_ fields: FieldCoder) {
        for opcode in 0..<256 {
            fields.field(&admin[opcode], at: opcode * 4)
            fields.field(&io[opcode], at: 1024 + opcode * 4)
        }
    }
}

/// The effects of a command besides its work.
public struct CommandEffects: OptionSet, Hashable, Sendable, BitwiseCopyable, OpenValue {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// Command Supported (CSUPP).
    public static let supported = CommandEffects(rawValue: 1 << 0)
    /// Logical Block Content Change (LBCC).
    public static let changesContent = CommandEffects(rawValue: 1 << 1)
    /// Namespace Capability Change (NCC).
    public static let changesNamespaceCapability = CommandEffects(rawValue: 1 << 2)
    /// Namespace Inventory Change (NIC).
    public static let changesNamespaceInventory = CommandEffects(rawValue: 1 << 3)
    /// Controller Capability Change (CCC).
    public static let changesControllerCapability = CommandEffects(rawValue: 1 << 4)
}

/// Supported Log Pages log page: 1024 bytes (NVMe Base, "Supported Log Pages (Log Page Identifier 00h)").
public struct SupportedLogPages: FixedStructure, Hashable {
    public static let byteCount = 1024
    private var pages = [UInt32](repeating: 0, count: 256)

    public init() {}

    /// A page that names these as supported.
    public init(_ supported: [LogPageID]) {
        for page in supported { pages[Int(page.rawValue)] = 1 }
    }

    /// LID Supported (LSUPP).
    public func contains(_ page: LogPageID) -> Bool { pages[Int(page.rawValue)] & 1 != 0 }

    public mutating func layout(_ fields: FieldCoder) {
        for page in 0..<256 { fields.field(&pages[page], at: page * 4) }
    }
}
