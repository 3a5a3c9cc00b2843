/// An entry of the Error Information log page: 64 bytes (NVMe Base, "Error Information (Log Page Identifier 01h)").
public struct ErrorLogEntry: FixedStructure, Hashable {
    public static let byteCount = 64
    /// The value of `submissionQueueID`, `commandID` and `parameterErrorLocation` if nothing is known.
    public static let notApplicable: UInt16 = 0xFFFF

    /// Error Count: unique, ascending; 0 for an entry without an error.
    public var errorCount: UInt64 = 0
    /// Submission Queue ID of the command.
    public var submissionQueueID: UInt16 = 0
    /// Command ID of the command.
    public var commandID: UInt16 = 0
    /// Status Field of the command's completion.
    public var status = Status.success
    /// Parameter Error Location: byte in bits 7:0, bit in 10:8.
    public var parameterErrorLocation: UInt16 = 0
    /// First LBA with the error.
    public var lba: UInt64 = 0
    /// Namespace.
    public var nsid: UInt32 = 0
    /// Transport Type (TRTYPE).
    public var transport: UInt8 = 0
    /// Command Specific Information.
    public var commandSpecific: UInt64 = 0

    public init() {}

    public init(
        errorCount: UInt64, submissionQueueID: UInt16, commandID: UInt16, status: Status, lba: UInt64 = 0,
        nsid: UInt32 = 0, parameterErrorLocation: UInt16 = ErrorLogEntry.notApplicable,
        transport: DiscoveryTransport = .rdma
    ) {
        self.errorCount = errorCount
        self.submissionQueueID = submissionQueueID
        self.commandID = commandID
        self.status = status
        self.parameterErrorLocation = parameterErrorLocation
        self.lba = lba
        self.nsid = nsid
        self.transport = transport.rawValue
    }

    public mutating func layout(_ fields: FieldCoder) {
        fields.field(&errorCount, at: 0)
        fields.field(&submissionQueueID, at: 8)
        fields.field(&commandID, at: 10)
        fields.field(&status, at: 12)
        fields.field(&parameterErrorLocation, at: 14)
        fields.field(&lba, at: 16)
        fields.field(&nsid, at: 24)
        fields.field(&transport, at: 29)
        fields.field(&commandSpecific, at: 32)
    }
}
