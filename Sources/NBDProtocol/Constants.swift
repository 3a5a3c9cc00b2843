/// Magic numbers of the protocol ("Values" and the message layouts of the NBD protocol document).
public enum NBDMagic {
    /// The first eight bytes of a server, "NBDMAGIC".
    public static let greeting: UInt64 = 0x4E42_444D_4147_4943
    /// Newstyle negotiation, and each option of a client: "IHAVEOPT".
    public static let option: UInt64 = 0x4948_4156_454F_5054
    /// Each answer to an option.
    public static let optionReply: UInt64 = 0x0003_E889_0455_65A9
    public static let request: UInt32 = 0x2560_9513
    public static let extendedRequest: UInt32 = 0x21E4_1C71
    public static let simpleReply: UInt32 = 0x6744_6698
    public static let structuredReply: UInt32 = 0x668E_33EF
    public static let extendedReply: UInt32 = 0x6E8A_278C
}

/// Options of the handshake (NBD_OPT_*).
public enum NBDOption: UInt32, Sendable {
    case exportName = 1
    case abort = 2
    case list = 3
    case startTLS = 5
    case info = 6
    case go = 7
    case structuredReply = 8
    case listMetaContext = 9
    case setMetaContext = 10
    case extendedHeaders = 11
}

/// Types of answers to options (NBD_REP_*).
public enum NBDOptionReply: UInt32, Sendable {
    case ack = 1
    case server = 2
    case info = 3
    case metaContext = 4
    /// The option is not known here.
    case unsupported = 0x8000_0001
    /// The server's configuration forbids it.
    case policy = 0x8000_0002
    /// The option's data is malformed.
    case invalid = 0x8000_0003
    /// Not without TLS.
    case tlsRequired = 0x8000_0005
    /// There is no export of that name.
    case unknown = 0x8000_0006
    /// The server is ending.
    case shutdown = 0x8000_0007
    /// The option's data is longer than the server takes.
    case tooBig = 0x8000_0009
    /// Extended headers were chosen, and this contradicts them.
    case extendedHeadersRequired = 0x8000_000A
}

/// Pieces of information on an export (NBD_INFO_*).
public enum NBDInformation: UInt16, Sendable {
    case export = 0
    case name = 1
    case description = 2
    case blockSize = 3
}

/// Flags of the handshake, both directions (NBD_FLAG_FIXED_NEWSTYLE and the like).
public struct NBDHandshakeFlags: OptionSet, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }
    public static let fixedNewstyle = NBDHandshakeFlags(rawValue: 1 << 0)
    /// No 124 zeroes behind the answer to NBD_OPT_EXPORT_NAME.
    public static let noZeroes = NBDHandshakeFlags(rawValue: 1 << 1)
}

/// Abilities of an export (transmission flags, NBD_FLAG_*).
public struct NBDTransmissionFlags: OptionSet, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }
    public static let hasFlags = NBDTransmissionFlags(rawValue: 1 << 0)
    public static let readOnly = NBDTransmissionFlags(rawValue: 1 << 1)
    public static let sendFlush = NBDTransmissionFlags(rawValue: 1 << 2)
    public static let sendFUA = NBDTransmissionFlags(rawValue: 1 << 3)
    public static let sendTrim = NBDTransmissionFlags(rawValue: 1 << 5)
    public static let sendWriteZeroes = NBDTransmissionFlags(rawValue: 1 << 6)
    public static let sendDF = NBDTransmissionFlags(rawValue: 1 << 7)
    public static let canMultiConn = NBDTransmissionFlags(rawValue: 1 << 8)
    public static let sendCache = NBDTransmissionFlags(rawValue: 1 << 10)
    public static let sendFastZero = NBDTransmissionFlags(rawValue: 1 << 11)
}

/// Requests (NBD_CMD_*).
public enum NBDCommand: UInt16, Sendable, BitwiseCopyable {
    case read = 0
    case write = 1
    case disconnect = 2
    case flush = 3
    case trim = 4
    case cache = 5
    case writeZeroes = 6
    case blockStatus = 7
}

/// Flags of a request (NBD_CMD_FLAG_*).
public struct NBDCommandFlags: OptionSet, Sendable, BitwiseCopyable {
    public let rawValue: UInt16
    @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }
    /// Force unit access: durable before the answer.
    public static let fua = NBDCommandFlags(rawValue: 1 << 0)
    /// Zeroes are to take up space.
    public static let noHole = NBDCommandFlags(rawValue: 1 << 1)
    /// Do not fragment: the data in one piece.
    public static let df = NBDCommandFlags(rawValue: 1 << 2)
    /// One extent only.
    public static let reqOne = NBDCommandFlags(rawValue: 1 << 3)
    /// Fail rather than write zeroes as slowly as data.
    public static let fastZero = NBDCommandFlags(rawValue: 1 << 4)
    /// Extended headers: the length is that of a payload.
    public static let payloadLength = NBDCommandFlags(rawValue: 1 << 5)
}

/// Types of structured and extended answers (NBD_REPLY_TYPE_*).
public enum NBDReplyType: UInt16, Sendable {
    case none = 0
    case offsetData = 1
    case offsetHole = 2
    case blockStatus = 5
    case extendedBlockStatus = 6
    case error = 0x8001
}

/// The errors that cross the wire ("Error values"); no other number does.
public enum NBDError: UInt32, Sendable, BitwiseCopyable {
    case none = 0
    case notPermitted = 1
    case ioError = 5
    case noMemory = 12
    case invalid = 22
    case noSpace = 28
    case overflow = 75
    case notSupported = 95
    /// The connection stays usable; the export does not.
    case shutdown = 108
}

/// Sizes that the protocol fixes, in bytes.
public enum NBDSize {
    public static let request = 28
    public static let extendedRequest = 32
    public static let simpleReply = 16
    public static let structuredReply = 20
    public static let extendedReply = 32
    /// The longest payload that a client may count on ("Block size constraints").
    public static let maximumPayload: UInt32 = 32 << 20
    /// The longest string: names, descriptions, contexts.
    public static let longestString = 4096
}
