/// An asynchronous event, as dword 0 of the completion of an Asynchronous Event Request reports it (NVMe Base,
/// "Asynchronous Event Request command").
public struct AsyncEvent: Hashable, Sendable, BitwiseCopyable {
    /// Asynchronous Event Type.
    public var type: EventType
    /// Asynchronous Event Information; its meaning depends on the type.
    public var information: UInt8
    /// Log Page Identifier: the log whose reading clears the event.
    public var logPage: UInt8

    public init(type: EventType, information: UInt8, logPage: LogPageID) {
        self.type = type
        self.information = information
        self.logPage = logPage.rawValue
    }

    /// From dword 0 of a completion.
    public init(dword0: UInt32) {
        type = EventType(rawValue: UInt8(dword0.bits(0, 3)))
        information = UInt8(dword0.bits(8, 8))
        logPage = UInt8(dword0.bits(16, 8))
    }

    /// Dword 0 of the completion.
    public var dword0: UInt32 { UInt32(type.rawValue & 7) | UInt32(information) << 8 | UInt32(logPage) << 16 }

    /// Asynchronous Event Type (AET).
    public struct EventType: RawRepresentable, Hashable, Sendable, BitwiseCopyable {
        public let rawValue: UInt8
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        /// Error: 0.
        public static let error = EventType(rawValue: 0)
        /// SMART: 1.
        public static let smart = EventType(rawValue: 1)
        /// Notice: 2.
        public static let notice = EventType(rawValue: 2)
        /// I/O command set: 6.
        public static let ioCommandSet = EventType(rawValue: 6)
        /// Vendor specific: 7.
        public static let vendorSpecific = EventType(rawValue: 7)
    }

    /// Error status: a persistent internal error.
    public static let persistentInternalError = AsyncEvent(type: .error, information: 0x03, logPage: .errorInformation)
    /// Error status: a transient internal error.
    public static let transientInternalError = AsyncEvent(type: .error, information: 0x04, logPage: .errorInformation)
    /// SMART status: the NVM subsystem's reliability is compromised.
    public static let reliability = AsyncEvent(type: .smart, information: 0x00, logPage: .smart)
    /// SMART status: a temperature is beyond its threshold.
    public static let temperature = AsyncEvent(type: .smart, information: 0x01, logPage: .smart)
    /// SMART status: available spare is below its threshold.
    public static let spareBelowThreshold = AsyncEvent(type: .smart, information: 0x02, logPage: .smart)
    /// Notice: a namespace came, went or changed.
    public static let namespaceAttributeChanged = AsyncEvent(
        type: .notice, information: 0x00, logPage: .changedNamespaces)
    /// Notice: the state of an ANA group changed.
    public static let anaChange = AsyncEvent(type: .notice, information: 0x03, logPage: .ana)
    /// Notice: the discovery log page changed.
    public static let discoveryLogChanged = AsyncEvent(type: .notice, information: 0xF0, logPage: .discovery)
    /// I/O command set: a Reservation Notification log page is available.
    public static let reservationLogAvailable = AsyncEvent(
        type: .ioCommandSet, information: 0x00, logPage: .reservationNotification)

    /// Whether the host wants to hear of this event: its bit of the Asynchronous Event Configuration feature, if it
    /// has one. Errors are always reported; reservations have a mask of their own.
    public func isEnabled(by configuration: AsyncEventConfiguration) -> Bool {
        switch type {
        case .notice:
            switch information {
            case 0x00: configuration.contains(.namespaceAttribute)
            case 0x01: configuration.contains(.firmwareActivation)
            case 0x02: configuration.contains(.telemetryLog)
            case 0x03: configuration.contains(.anaChange)
            case 0x04: configuration.contains(.predictableLatency)
            case 0x05: configuration.contains(.lbaStatus)
            case 0x06: configuration.contains(.enduranceGroup)
            case 0xF0: configuration.contains(.discoveryLog)
            default: false
            }
        case .smart:
            switch information {
            case 0x00: !configuration.isDisjoint(with: [.degraded, .readOnly, .volatileBackup])
            case 0x01: configuration.contains(.temperature)
            case 0x02: configuration.contains(.spare)
            default: false
            }
        default: true
        }
    }
}

/// Asynchronous Event Configuration, feature 0Bh: which events the host wants (NVMe Base, "Asynchronous Event
/// Configuration"). Bits 8 and up are also those of Identify Controller's OAES.
public struct AsyncEventConfiguration: OptionSet, Hashable, Sendable, BitwiseCopyable, OpenValue {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Spare: bit 0.
    public static let spare = AsyncEventConfiguration(rawValue: 1 << 0)
    /// Temperature: bit 1.
    public static let temperature = AsyncEventConfiguration(rawValue: 1 << 1)
    /// Degraded: bit 2.
    public static let degraded = AsyncEventConfiguration(rawValue: 1 << 2)
    /// Read only: bit 3.
    public static let readOnly = AsyncEventConfiguration(rawValue: 1 << 3)
    /// Volatile backup: bit 4.
    public static let volatileBackup = AsyncEventConfiguration(rawValue: 1 << 4)
    /// Namespace attribute: bit 8.
    public static let namespaceAttribute = AsyncEventConfiguration(rawValue: 1 << 8)
    /// Firmware activation: bit 9.
    public static let firmwareActivation = AsyncEventConfiguration(rawValue: 1 << 9)
    /// Telemetry log: bit 10.
    public static let telemetryLog = AsyncEventConfiguration(rawValue: 1 << 10)
    /// ANA change: bit 11.
    public static let anaChange = AsyncEventConfiguration(rawValue: 1 << 11)
    /// Predictable latency: bit 12.
    public static let predictableLatency = AsyncEventConfiguration(rawValue: 1 << 12)
    /// LBA status: bit 13.
    public static let lbaStatus = AsyncEventConfiguration(rawValue: 1 << 13)
    /// Endurance group: bit 14.
    public static let enduranceGroup = AsyncEventConfiguration(rawValue: 1 << 14)
    /// Discovery log: bit 31.
    public static let discoveryLog = AsyncEventConfiguration(rawValue: 1 << 31)
}
