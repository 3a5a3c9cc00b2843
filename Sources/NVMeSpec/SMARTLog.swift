/// SMART / Health Information log page: 512 bytes (NVMe Base, "SMART / Health Information (Log Page Identifier 02h)").
///
/// Counters have 128 bits on the wire; of a peer's counters the low 64 are read.
public struct SMARTLog: FixedStructure, Hashable {
    public static let byteCount = 512

    /// Critical Warning.
    public var criticalWarning: CriticalWarning = []
    /// Composite Temperature, in kelvins.
    public var temperature: UInt16 = 0
    /// Available Spare, in percent.
    public var availableSpare: UInt8 = 0
    /// Available Spare Threshold, in percent.
    public var availableSpareThreshold: UInt8 = 0
    /// Percentage Used of the device's life; may exceed 100.
    public var percentageUsed: UInt8 = 0
    /// Data Units Read: thousands of 512 bytes, rounded up.
    public var dataUnitsRead: UInt64 = 0
    /// Data Units Written.
    public var dataUnitsWritten: UInt64 = 0
    /// Host Read Commands.
    public var hostReadCommands: UInt64 = 0
    /// Host Write Commands.
    public var hostWriteCommands: UInt64 = 0
    /// Controller Busy Time, in minutes.
    public var controllerBusyMinutes: UInt64 = 0
    /// Power Cycles.
    public var powerCycles: UInt64 = 0
    /// Power On Hours.
    public var powerOnHours: UInt64 = 0
    /// Unsafe Shutdowns.
    public var unsafeShutdowns: UInt64 = 0
    /// Media and Data Integrity Errors.
    public var mediaErrors: UInt64 = 0
    /// Number of Error Information Log Entries, over the controller's life.
    public var errorLogEntries: UInt64 = 0

    public init() {}

    public mutating func layout(_ fields: FieldCoder) {
        fields.field(&criticalWarning, at: 0)
        fields.field(&temperature, at: 1)
        fields.field(&availableSpare, at: 3)
        fields.field(&availableSpareThreshold, at: 4)
        fields.field(&percentageUsed, at: 5)
        fields.field(&dataUnitsRead, at: 32)
        fields.field(&dataUnitsWritten, at: 48)
        fields.field(&hostReadCommands, at: 64)
        fields.field(&hostWriteCommands, at: 80)
        fields.field(&controllerBusyMinutes, at: 96)
        fields.field(&powerCycles, at: 112)
        fields.field(&powerOnHours, at: 128)
        fields.field(&unsafeShutdowns, at: 144)
        fields.field(&mediaErrors, at: 160)
        fields.field(&errorLogEntries, at: 176)
    }

    /// Data units for a number of bytes.
    public static func dataUnits(ofBytes bytes: UInt64) -> UInt64 {
        bytes / 512_000 + (bytes % 512_000 == 0 ? 0 : 1)
    }
}

/// Critical Warning of the SMART log.
public struct CriticalWarning: OptionSet, Hashable, Sendable, OpenValue {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Spare: bit 0.
    public static let spare = CriticalWarning(rawValue: 1 << 0)
    /// Temperature: bit 1.
    public static let temperature = CriticalWarning(rawValue: 1 << 1)
    /// Degraded: bit 2.
    public static let degraded = CriticalWarning(rawValue: 1 << 2)
    /// Read only: bit 3.
    public static let readOnly = CriticalWarning(rawValue: 1 << 3)
    /// Volatile backup: bit 4.
    public static let volatileBackup = CriticalWarning(rawValue: 1 << 4)
}
