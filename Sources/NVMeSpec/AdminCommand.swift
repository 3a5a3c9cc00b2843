import Base

/// An admin command that a fabrics controller may execute, decoded (NVMe Base, "Admin Command Set").
public enum AdminCommand: Hashable, Sendable, BitwiseCopyable {
    case getLogPage(GetLogPageCommand)
    case identify(IdentifyCommand)
    case abort(AbortCommand)
    case setFeatures(SetFeaturesCommand)
    case getFeatures(GetFeaturesCommand)
    case asynchronousEventRequest
    case namespaceManagement(NamespaceManagementCommand)
    case namespaceAttachment(NamespaceAttachmentCommand)
    case keepAlive
    case quiesce(QuiesceCommand)
    case namespaceGrowth(NamespaceGrowthCommand)
    /// Not a command that a controller of ours executes: answer with the status.
    case invalid(Status)

    /// Decodes an entry of the admin queue that is not a Fabrics command.
    public init(_ entry: SubmissionEntry) {
        switch AdminOpcode(rawValue: entry.opcode) {
        case .getLogPage:
            let command = GetLogPageCommand(entry)
            // LPOL bits 1:0 are reserved: offsets are in dwords.
            self = command.offset % 4 == 0 ? .getLogPage(command) : .invalid(.invalidField)
        case .identify: self = .identify(IdentifyCommand(entry))
        case .abort: self = .abort(AbortCommand(entry))
        case .setFeatures: self = .setFeatures(SetFeaturesCommand(entry))
        case .getFeatures: self = .getFeatures(GetFeaturesCommand(entry))
        case .asynchronousEventRequest: self = .asynchronousEventRequest
        case .namespaceManagement:
            self = NamespaceManagementCommand(entry).map { .namespaceManagement($0) } ?? .invalid(.invalidField)
        case .namespaceAttachment:
            self = NamespaceAttachmentCommand(entry).map { .namespaceAttachment($0) } ?? .invalid(.invalidField)
        case .keepAlive: self = .keepAlive
        default:
            self =
                switch entry.opcode {
                case QuiesceCommand.opcode: .quiesce(QuiesceCommand(entry))
                case NamespaceGrowthCommand.opcode: .namespaceGrowth(NamespaceGrowthCommand(entry))
                default: .invalid(.invalidOpcode)
                }
        }
    }
}

/// Get Log Page.
public struct GetLogPageCommand: Hashable, Sendable, BitwiseCopyable {
    /// Log Page Identifier (LID).
    public var logPage: LogPageID
    /// Log Specific Parameter (LSP).
    public var specificParameter: UInt8 = 0
    /// Retain Asynchronous Event (RAE).
    public var retainsEvent = false
    /// Bytes to return, a multiple of 4: (NUMD + 1) × 4.
    public var byteCount: UInt64
    /// Log Specific Identifier (LSI).
    public var specificIdentifier: UInt16 = 0
    /// Log Page Offset (LPO): where to start, in bytes; or an index if `offsetIsIndex`.
    public var offset: UInt64 = 0
    /// Offset Type (OT).
    public var offsetIsIndex = false
    /// UUID Index.
    public var uuidIndex: UInt8 = 0
    /// Command Set Identifier (CSI).
    public var commandSet: CommandSetIdentifier = .nvm

    /// - Parameter byteCount: a multiple of 4 from 4 to 2^34.
    public init(_ logPage: LogPageID, byteCount: UInt64, offset: UInt64 = 0, retainsEvent: Bool = false) {
        invariant(byteCount >= 4 && byteCount % 4 == 0 && byteCount <= 1 << 34, "a log is read in whole dwords")
        self.logPage = logPage
        self.byteCount = byteCount
        self.offset = offset
        self.retainsEvent = retainsEvent
    }

    init(_ entry: SubmissionEntry) {
        logPage = LogPageID(rawValue: UInt8(entry.cdw10.bits(0, 8)))
        specificParameter = UInt8(entry.cdw10.bits(8, 7))
        retainsEvent = entry.cdw10.bits(15, 1) != 0
        let dwords = UInt64(entry.cdw10.bits(16, 16)) | UInt64(entry.cdw11.bits(0, 16)) << 16
        byteCount = (dwords + 1) * 4
        specificIdentifier = UInt16(entry.cdw11.bits(16, 16))
        offset = UInt64(entry.cdw12) | UInt64(entry.cdw13) << 32
        uuidIndex = UInt8(entry.cdw14.bits(0, 7))
        offsetIsIndex = entry.cdw14.bits(23, 1) != 0
        commandSet = CommandSetIdentifier(rawValue: UInt8(entry.cdw14.bits(24, 8)))
    }
}

/// Identify.
public struct IdentifyCommand: Hashable, Sendable, BitwiseCopyable {
    /// Controller or Namespace Structure (CNS): which structure.
    public var structure: IdentifyStructure
    /// Controller Identifier (CNTID).
    public var controllerID: UInt16 = 0
    /// CNS Specific Identifier.
    public var specificIdentifier: UInt16 = 0
    /// Command Set Identifier (CSI).
    public var commandSet: CommandSetIdentifier = .nvm
    /// UUID Index.
    public var uuidIndex: UInt8 = 0

    public init(
        _ structure: IdentifyStructure, controllerID: UInt16 = 0, commandSet: CommandSetIdentifier = .nvm
    ) {
        self.structure = structure
        self.controllerID = controllerID
        self.commandSet = commandSet
    }

    init(_ entry: SubmissionEntry) {
        structure = IdentifyStructure(rawValue: UInt8(entry.cdw10.bits(0, 8)))
        controllerID = UInt16(entry.cdw10.bits(16, 16))
        specificIdentifier = UInt16(entry.cdw11.bits(0, 16))
        commandSet = CommandSetIdentifier(rawValue: UInt8(entry.cdw11.bits(24, 8)))
        uuidIndex = UInt8(entry.cdw14.bits(0, 7))
    }
}

/// Abort.
public struct AbortCommand: Hashable, Sendable, BitwiseCopyable {
    /// Submission Queue Identifier (SQID) of the command to abort.
    public var sqID: UInt16
    /// Command Identifier (CID) of the command to abort.
    public var commandID: UInt16

    /// Dword 0 of the completion: bit 0 set says that the command was not aborted.
    public static let notAborted: UInt32 = 1

    public init(sqID: UInt16, commandID: UInt16) {
        self.sqID = sqID
        self.commandID = commandID
    }

    init(_ entry: SubmissionEntry) {
        sqID = UInt16(entry.cdw10.bits(0, 16))
        commandID = UInt16(entry.cdw10.bits(16, 16))
    }
}

/// Set Features.
public struct SetFeaturesCommand: Hashable, Sendable, BitwiseCopyable {
    /// Feature Identifier (FID).
    public var feature: FeatureID
    /// Save (SV).
    public var saves: Bool
    /// Dwords 11 to 13 and 15: the feature's value.
    public var value: UInt32
    /// Dword 12.
    public var cdw12: UInt32 = 0
    /// Dword 13.
    public var cdw13: UInt32 = 0
    /// Dword 15.
    public var cdw15: UInt32 = 0
    /// UUID Index.
    public var uuidIndex: UInt8 = 0

    /// - Parameter value: dword 11.
    public init(_ feature: FeatureID, value: UInt32, saves: Bool = false) {
        self.feature = feature
        self.value = value
        self.saves = saves
    }

    init(_ entry: SubmissionEntry) {
        feature = FeatureID(rawValue: UInt8(entry.cdw10.bits(0, 8)))
        saves = entry.cdw10.bits(31, 1) != 0
        value = entry.cdw11
        cdw12 = entry.cdw12
        cdw13 = entry.cdw13
        uuidIndex = UInt8(entry.cdw14.bits(0, 7))
        cdw15 = entry.cdw15
    }
}

/// Get Features.
public struct GetFeaturesCommand: Hashable, Sendable, BitwiseCopyable {
    /// Feature Identifier (FID).
    public var feature: FeatureID
    /// Select (SEL): which of its values.
    public var select: FeatureSelect
    /// Dword 11, which some features use.
    public var value: UInt32
    /// UUID Index.
    public var uuidIndex: UInt8 = 0

    public init(_ feature: FeatureID, select: FeatureSelect = .current, value: UInt32 = 0) {
        self.feature = feature
        self.select = select
        self.value = value
    }

    init(_ entry: SubmissionEntry) {
        feature = FeatureID(rawValue: UInt8(entry.cdw10.bits(0, 8)))
        select = FeatureSelect(rawValue: UInt8(entry.cdw10.bits(8, 3)))
        value = entry.cdw11
        uuidIndex = UInt8(entry.cdw14.bits(0, 7))
    }
}

/// I/O Command Set Identifier (CSI; NVMe Base, "I/O Command Sets").
public struct CommandSetIdentifier: RawRepresentable, Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// NVM: 0.
    public static let nvm = CommandSetIdentifier(rawValue: 0)
    /// Zoned namespace: 2.
    public static let zonedNamespace = CommandSetIdentifier(rawValue: 2)
}

extension SubmissionEntry {
    /// The entry of an admin command. `.invalid` traps.
    public init(_ command: AdminCommand, nsid: UInt32 = 0, commandID: UInt16, data: SGLDescriptor = .none) {
        self.init()
        flags = SubmissionEntry.sglFlags
        self.commandID = commandID
        self.nsid = nsid
        dataPointer = data.bytes
        switch command {
        case .getLogPage(let command): encode(command)
        case .identify(let command):
            opcode = AdminOpcode.identify.rawValue
            cdw10 = UInt32(command.structure.rawValue) | UInt32(command.controllerID) << 16
            cdw11 = UInt32(command.specificIdentifier) | UInt32(command.commandSet.rawValue) << 24
            cdw14 = UInt32(command.uuidIndex & 0x7F)
        case .abort(let command):
            opcode = AdminOpcode.abort.rawValue
            cdw10 = UInt32(command.sqID) | UInt32(command.commandID) << 16
        case .setFeatures(let command):
            opcode = AdminOpcode.setFeatures.rawValue
            cdw10 = UInt32(command.feature.rawValue) | (command.saves ? 1 << 31 : 0)
            cdw11 = command.value
            cdw12 = command.cdw12
            cdw13 = command.cdw13
            cdw14 = UInt32(command.uuidIndex & 0x7F)
            cdw15 = command.cdw15
        case .getFeatures(let command):
            opcode = AdminOpcode.getFeatures.rawValue
            cdw10 = UInt32(command.feature.rawValue) | UInt32(command.select.rawValue & 7) << 8
            cdw11 = command.value
            cdw14 = UInt32(command.uuidIndex & 0x7F)
        case .asynchronousEventRequest: opcode = AdminOpcode.asynchronousEventRequest.rawValue
        case .namespaceManagement(let command):
            opcode = AdminOpcode.namespaceManagement.rawValue
            cdw10 = UInt32(command.action.rawValue)
            cdw11 = UInt32(command.commandSet.rawValue) << 24
        case .namespaceAttachment(let command):
            opcode = AdminOpcode.namespaceAttachment.rawValue
            cdw10 = UInt32(command.action.rawValue)
        case .keepAlive: opcode = AdminOpcode.keepAlive.rawValue
        case .quiesce(let command):
            opcode = QuiesceCommand.opcode
            cdw10 = UInt32(command.controllerID)
        case .namespaceGrowth(let command):
            opcode = NamespaceGrowthCommand.opcode
            cdw10 = UInt32(truncatingIfNeeded: command.blockCount)
            cdw11 = UInt32(truncatingIfNeeded: command.blockCount >> 32)
        case .invalid: invariantViolated("an invalid command is never sent")
        }
    }

    private mutating func encode(_ command: GetLogPageCommand) {
        let dwords = command.byteCount / 4 - 1
        opcode = AdminOpcode.getLogPage.rawValue
        cdw10 = UInt32(command.logPage.rawValue) | UInt32(command.specificParameter & 0x7F) << 8
        cdw10 |= (command.retainsEvent ? 1 << 15 : 0) | UInt32(dwords.bits(0, 16)) << 16
        cdw11 = UInt32(dwords.bits(16, 16)) | UInt32(command.specificIdentifier) << 16
        cdw12 = UInt32(truncatingIfNeeded: command.offset)
        cdw13 = UInt32(truncatingIfNeeded: command.offset >> 32)
        cdw14 = UInt32(command.uuidIndex & 0x7F) | (command.offsetIsIndex ? 1 << 23 : 0)
        cdw14 |= UInt32(command.commandSet.rawValue) << 24
    }
}
