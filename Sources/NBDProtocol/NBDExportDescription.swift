/// An export, as the handshake describes it to clients.
public struct NBDExportDescription: Equatable, Sendable {
    public var name: String
    /// For people; empty for none.
    public var text: String
    /// Bytes.
    public var size: UInt64
    public var flags: NBDTransmissionFlags
    /// Bytes: the smallest request that costs no more than itself, the size that suits best, and the longest payload
    /// ("Block size constraints"). Advertised only: no client is refused for leaving them.
    public var minimumBlock: UInt32
    public var preferredBlock: UInt32
    public var maximumPayload: UInt32

    public init(
        name: String, text: String = "", size: UInt64, flags: NBDTransmissionFlags, minimumBlock: UInt32 = 1,
        preferredBlock: UInt32 = 4096, maximumPayload: UInt32 = NBDSize.maximumPayload
    ) {
        self.name = name
        self.text = text
        self.size = size
        self.flags = flags
        self.minimumBlock = minimumBlock
        self.preferredBlock = preferredBlock
        self.maximumPayload = maximumPayload
    }
}

/// How requests and answers of a session look.
public enum NBDHeaderForm: UInt8, Sendable, BitwiseCopyable {
    case simple
    /// Reads and block status are answered by structured chunks.
    case structured
    /// Requests have lengths of 64 bits, and all answers are extended chunks.
    case extended
}

/// The result of a handshake: terms that client and server agreed on.
public struct NBDSession: Equatable, Sendable, BitwiseCopyable {
    public var form: NBDHeaderForm
    /// Bytes of the export.
    public var size: UInt64
    public var flags: NBDTransmissionFlags
    /// The contexts that the client may ask for block status of.
    public var contexts: NBDContexts

    public init(form: NBDHeaderForm, size: UInt64, flags: NBDTransmissionFlags, contexts: NBDContexts = []) {
        self.form = form
        self.size = size
        self.flags = flags
        self.contexts = contexts
    }
}

/// The contexts of block status ("Metadata querying"). The number of each names it in answers.
public struct NBDContexts: OptionSet, Equatable, Sendable, BitwiseCopyable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// `base:allocation`: NBD_STATE_HOLE (1) and NBD_STATE_ZERO (2).
    public static let allocation = NBDContexts(rawValue: 1)
    /// `tercet:dirty`: 1 where something may have been changed since the device was last in order.
    public static let dirty = NBDContexts(rawValue: 2)

    /// Each alone, with its name.
    static let all: [(context: NBDContexts, name: String)] = [
        (.allocation, "base:allocation"), (.dirty, "tercet:dirty"),
    ]
    /// The number by which answers name a context alone.
    public var number: UInt32 { UInt32(rawValue) }
}

extension NBDTransmissionFlags: BitwiseCopyable {}
