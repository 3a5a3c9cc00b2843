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
    /// The client may ask for block status of `base:allocation`.
    public var hasAllocationContext: Bool

    public init(form: NBDHeaderForm, size: UInt64, flags: NBDTransmissionFlags, hasAllocationContext: Bool) {
        self.form = form
        self.size = size
        self.flags = flags
        self.hasAllocationContext = hasAllocationContext
    }

    /// The number by which answers name `base:allocation`.
    public static let allocationContext: UInt32 = 1
}

extension NBDTransmissionFlags: BitwiseCopyable {}
