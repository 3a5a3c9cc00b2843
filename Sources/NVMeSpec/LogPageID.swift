/// Log Page Identifiers (NVMe Base, "Log Page Identifiers").
public struct LogPageID: RawRepresentable, Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Supported log pages: 00h.
    public static let supportedLogPages = LogPageID(rawValue: 0x00)
    /// Error information: 01h.
    public static let errorInformation = LogPageID(rawValue: 0x01)
    /// SMART: 02h.
    public static let smart = LogPageID(rawValue: 0x02)
    /// Firmware slot: 03h.
    public static let firmwareSlot = LogPageID(rawValue: 0x03)
    /// Changed namespaces: 04h.
    public static let changedNamespaces = LogPageID(rawValue: 0x04)
    /// Commands supported and effects: 05h.
    public static let commandsSupportedAndEffects = LogPageID(rawValue: 0x05)
    /// ANA: 0Ch.
    public static let ana = LogPageID(rawValue: 0x0C)
    /// Feature Identifiers Supported and Effects: 12h.
    public static let featureIdentifiersSupportedAndEffects = LogPageID(rawValue: 0x12)
    /// Discovery: 70h.
    public static let discovery = LogPageID(rawValue: 0x70)
    /// Reservation notification: 80h.
    public static let reservationNotification = LogPageID(rawValue: 0x80)
}
