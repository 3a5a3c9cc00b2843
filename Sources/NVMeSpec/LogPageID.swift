/// Log Page Identifiers (NVMe Base, "Log Page Identifiers").
public struct LogPageID: RawRepresentable, Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    public static let supportedLogPages = LogPageID(rawValue: 0x00)
    public static let errorInformation = LogPageID(rawValue: 0x01)
    public static let smart = LogPageID(rawValue: 0x02)
    public static let firmwareSlot = LogPageID(rawValue: 0x03)
    public static let changedNamespaces = LogPageID(rawValue: 0x04)
    public static let commandsSupportedAndEffects = LogPageID(rawValue: 0x05)
    public static let ana = LogPageID(rawValue: 0x0C)
    public static let featureIdentifiersSupportedAndEffects = LogPageID(rawValue: 0x12)
    public static let discovery = LogPageID(rawValue: 0x70)
    public static let reservationNotification = LogPageID(rawValue: 0x80)
}
