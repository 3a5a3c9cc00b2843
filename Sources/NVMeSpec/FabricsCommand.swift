import Base

/// A Fabrics command, decoded (NVMe Base, "Fabrics Command Set").
public enum FabricsCommand: Hashable, Sendable, BitwiseCopyable {
    case propertySet(PropertySetCommand)
    case connect(ConnectCommand)
    case propertyGet(PropertyGetCommand)
    case authenticationSend(AuthenticationCommand)
    case authenticationReceive(AuthenticationCommand)
    case disconnect
    /// Not a command that a controller may execute: answer with the status.
    case invalid(Status)

    /// Decodes an entry whose opcode is 7Fh; another opcode is `.invalid`.
    public init(_ entry: SubmissionEntry) {
        guard entry.opcode == FabricsCommandType.opcode,
            let type = FabricsCommandType(rawValue: entry.fabricsCommandType)
        else {
            self = .invalid(.invalidOpcode)
            return
        }
        switch type {
        case .propertySet:
            guard let size = PropertySize(rawValue: UInt8(entry.cdw10.bits(0, 3))) else {
                self = .invalid(.invalidField)
                return
            }
            self = .propertySet(
                PropertySetCommand(
                    size: size, offset: entry.cdw11, value: UInt64(entry.cdw12) | UInt64(entry.cdw13) << 32))
        case .connect:
            let command = ConnectCommand(entry)
            self = .connect(command)
        case .propertyGet:
            guard let size = PropertySize(rawValue: UInt8(entry.cdw10.bits(0, 3))) else {
                self = .invalid(.invalidField)
                return
            }
            self = .propertyGet(PropertyGetCommand(size: size, offset: entry.cdw11))
        case .authenticationSend: self = .authenticationSend(AuthenticationCommand(entry))
        case .authenticationReceive: self = .authenticationReceive(AuthenticationCommand(entry))
        case .disconnect:
            self = entry.cdw10.bits(0, 16) == 0 ? .disconnect : .invalid(.connectIncompatibleFormat)
        }
    }
}

/// Size of a property (Property Get and Set, ATTRIB).
public enum PropertySize: UInt8, Sendable, BitwiseCopyable {
    case fourBytes = 0
    case eightBytes = 1

    /// Bytes of the property.
    @inlinable public var byteCount: Int { self == .fourBytes ? 4 : 8 }
}

/// Property Get: the value comes in dwords 0 and 1 of the completion.
public struct PropertyGetCommand: Hashable, Sendable, BitwiseCopyable {
    /// Size of the property (ATTRIB).
    public var size: PropertySize
    /// Offset of the property; see `Property`.
    public var offset: UInt32

    public init(size: PropertySize, offset: UInt32) {
        self.size = size
        self.offset = offset
    }

    /// The command for a property, with its size.
    public init(_ property: Property) {
        self.init(size: property.byteCount == 8 ? .eightBytes : .fourBytes, offset: property.rawValue)
    }
}

/// Property Set.
public struct PropertySetCommand: Hashable, Sendable, BitwiseCopyable {
    /// Size of the property (ATTRIB).
    public var size: PropertySize
    /// Offset of the property; see `Property`.
    public var offset: UInt32
    /// The new value; its low half if the property has 4 bytes.
    public var value: UInt64

    public init(size: PropertySize, offset: UInt32, value: UInt64) {
        self.size = size
        self.offset = offset
        self.value = value
    }

    /// The command for a property, with its size.
    public init(_ property: Property, value: UInt64) {
        self.init(size: property.byteCount == 8 ? .eightBytes : .fourBytes, offset: property.rawValue, value: value)
    }
}

/// Connect: makes a queue; its data is `ConnectData`.
public struct ConnectCommand: Hashable, Sendable, BitwiseCopyable {
    /// Record Format (RECFMT): 0.
    public var recordFormat: UInt16 = 0
    /// Queue ID (QID): 0 for the admin queue.
    public var queueID: UInt16
    /// Submission Queue Size (SQSIZE): 0-based.
    public var sqSize: UInt16
    /// Connect Attributes (CATTR).
    public var attributes: ConnectAttributes
    /// Keep Alive Timeout (KATO) in milliseconds; 0 for none. For the admin queue only.
    public var keepAliveMilliseconds: UInt32

    public init(
        queueID: UInt16, sqSize: UInt16, attributes: ConnectAttributes = [], keepAliveMilliseconds: UInt32 = 0
    ) {
        self.queueID = queueID
        self.sqSize = sqSize
        self.attributes = attributes
        self.keepAliveMilliseconds = keepAliveMilliseconds
    }

    init(_ entry: SubmissionEntry) {
        recordFormat = UInt16(entry.cdw10.bits(0, 16))
        queueID = UInt16(entry.cdw10.bits(16, 16))
        sqSize = UInt16(entry.cdw11.bits(0, 16))
        attributes = ConnectAttributes(rawValue: UInt8(entry.cdw11.bits(16, 8)))
        keepAliveMilliseconds = entry.cdw12
    }

    /// Offsets in the command, for `ConnectFailure`.
    public enum Offset {
        /// Queue ID.
        public static let queueID: UInt16 = 42
        /// SQ size.
        public static let sqSize: UInt16 = 44
        /// Attributes.
        public static let attributes: UInt16 = 46
        /// Keep alive.
        public static let keepAlive: UInt16 = 48
    }
}

/// Connect Attributes (CATTR). Bits 1:0 are the queue's priority class, which weighted round robin uses.
public struct ConnectAttributes: OptionSet, Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Disable SQ flow control: SQHD is not used.
    public static let disableSQFlowControl = ConnectAttributes(rawValue: 1 << 2)
}

/// Authentication Send and Authentication Receive (NVMe Base, "Authentication Send Command").
public struct AuthenticationCommand: Hashable, Sendable, BitwiseCopyable {
    /// Security Protocol (SECP).
    public var securityProtocol: UInt8
    /// SP Specific, byte 0 (SPSP0).
    public var specific0: UInt8
    /// SP Specific, byte 1 (SPSP1).
    public var specific1: UInt8
    /// Transfer Length (TL) or Allocation Length (AL), in bytes.
    public var length: UInt32

    /// SECP of NVMe in-band authentication.
    public static let nvmeSecurityProtocol: UInt8 = 0xE9

    public init(
        length: UInt32, securityProtocol: UInt8 = AuthenticationCommand.nvmeSecurityProtocol, specific0: UInt8 = 1,
        specific1: UInt8 = 1
    ) {
        self.securityProtocol = securityProtocol
        self.specific0 = specific0
        self.specific1 = specific1
        self.length = length
    }

    init(_ entry: SubmissionEntry) {
        specific0 = UInt8(entry.cdw10.bits(8, 8))
        specific1 = UInt8(entry.cdw10.bits(16, 8))
        securityProtocol = UInt8(entry.cdw10.bits(24, 8))
        length = entry.cdw11
    }
}

extension SubmissionEntry {
    /// The entry of a Fabrics command. `.invalid` traps.
    public init(_ command: FabricsCommand, commandID: UInt16, data: SGLDescriptor = .none) {
        self.init()
        opcode = FabricsCommandType.opcode
        flags = SubmissionEntry.sglFlags
        self.commandID = commandID
        dataPointer = data.bytes
        switch command {
        case .propertySet(let command):
            nsid = UInt32(FabricsCommandType.propertySet.rawValue)
            cdw10 = UInt32(command.size.rawValue)
            cdw11 = command.offset
            cdw12 = UInt32(truncatingIfNeeded: command.value)
            cdw13 = UInt32(truncatingIfNeeded: command.value >> 32)
        case .connect(let command):
            nsid = UInt32(FabricsCommandType.connect.rawValue)
            cdw10 = UInt32(command.recordFormat) | UInt32(command.queueID) << 16
            cdw11 = UInt32(command.sqSize) | UInt32(command.attributes.rawValue) << 16
            cdw12 = command.keepAliveMilliseconds
        case .propertyGet(let command):
            nsid = UInt32(FabricsCommandType.propertyGet.rawValue)
            cdw10 = UInt32(command.size.rawValue)
            cdw11 = command.offset
        case .authenticationSend(let command):
            nsid = UInt32(FabricsCommandType.authenticationSend.rawValue)
            encode(command)
        case .authenticationReceive(let command):
            nsid = UInt32(FabricsCommandType.authenticationReceive.rawValue)
            encode(command)
        case .disconnect:
            nsid = UInt32(FabricsCommandType.disconnect.rawValue)
        case .invalid:
            invariantViolated("an invalid command is never sent")
        }
    }

    private mutating func encode(_ command: AuthenticationCommand) {
        cdw10 =
            UInt32(command.specific0) << 8 | UInt32(command.specific1) << 16 | UInt32(command.securityProtocol) << 24
        cdw11 = command.length
    }
}
