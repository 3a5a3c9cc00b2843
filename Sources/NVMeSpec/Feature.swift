/// Feature Identifiers (NVMe Base, "Feature Identifiers").
public struct FeatureID: RawRepresentable, Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Arbitration: 01h.
    public static let arbitration = FeatureID(rawValue: 0x01)
    /// Power management: 02h.
    public static let powerManagement = FeatureID(rawValue: 0x02)
    /// Temperature threshold: 04h.
    public static let temperatureThreshold = FeatureID(rawValue: 0x04)
    /// Error recovery: 05h.
    public static let errorRecovery = FeatureID(rawValue: 0x05)
    /// Volatile write cache: 06h.
    public static let volatileWriteCache = FeatureID(rawValue: 0x06)
    /// Number of queues: 07h.
    public static let numberOfQueues = FeatureID(rawValue: 0x07)
    /// Interrupt coalescing: 08h.
    public static let interruptCoalescing = FeatureID(rawValue: 0x08)
    /// Interrupt vector configuration: 09h.
    public static let interruptVectorConfiguration = FeatureID(rawValue: 0x09)
    /// Write atomicity: 0Ah.
    public static let writeAtomicity = FeatureID(rawValue: 0x0A)
    /// Async event configuration: 0Bh.
    public static let asyncEventConfiguration = FeatureID(rawValue: 0x0B)
    /// Keep alive timer: 0Fh.
    public static let keepAliveTimer = FeatureID(rawValue: 0x0F)
    /// Host behavior support: 16h.
    public static let hostBehaviorSupport = FeatureID(rawValue: 0x16)
    /// Host identifier: 81h.
    public static let hostIdentifier = FeatureID(rawValue: 0x81)
    /// Reservation notification mask: 82h.
    public static let reservationNotificationMask = FeatureID(rawValue: 0x82)
    /// Reservation persistence: 83h.
    public static let reservationPersistence = FeatureID(rawValue: 0x83)
    /// Namespace write protection: 84h.
    public static let namespaceWriteProtection = FeatureID(rawValue: 0x84)
}

/// Select (SEL) of Get Features: which value of the feature. Values without a name are reserved.
public struct FeatureSelect: RawRepresentable, Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Current: 0.
    public static let current = FeatureSelect(rawValue: 0)
    /// Default: 1.
    public static let `default` = FeatureSelect(rawValue: 1)
    /// Saved: 2.
    public static let saved = FeatureSelect(rawValue: 2)
    /// Supported capabilities: 3.
    public static let supportedCapabilities = FeatureSelect(rawValue: 3)
}

/// Dword 0 of Get Features with `.supportedCapabilities` (NVMe Base, "Get Features - Supported Capabilities").
public struct FeatureCapabilities: OptionSet, Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// Changeable: bit 2.
    public static let changeable = FeatureCapabilities(rawValue: 1 << 2)
}

/// Number of Queues, feature 07h: I/O queues asked for in dword 11, granted in dword 0 of the completion.
public struct NumberOfQueues: RawRepresentable, Hashable, Sendable, BitwiseCopyable {
    public var rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// - Parameters:
    ///   - submission: I/O submission queues, 1 to 65535.
    ///   - completion: I/O completion queues, 1 to 65535.
    public init(submission: Int, completion: Int) {
        rawValue = UInt32(UInt16(clamping: submission - 1)) | UInt32(UInt16(clamping: completion - 1)) << 16
    }

    /// I/O submission queues, 1-based: NSQR + 1 or NSQA + 1. 65536 is not a valid request.
    public var submission: Int { Int(rawValue.bits(0, 16)) + 1 }
    /// I/O completion queues, 1-based: NCQR + 1 or NCQA + 1. 65536 is not a valid request.
    public var completion: Int { Int(rawValue.bits(16, 16)) + 1 }
}

/// Volatile Write Cache, feature 06h.
public struct VolatileWriteCacheFeature: OptionSet, Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// Volatile Write Cache Enable (WCE).
    public static let enabled = VolatileWriteCacheFeature(rawValue: 1 << 0)
}

/// Host Identifier, feature 81h: dword 11. On a fabric, the identifier comes with Connect and can only be read.
public struct HostIdentifierFeature: OptionSet, Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// Enable Extended Host Identifier (EXHID): 16 bytes, not 8.
    public static let extended = HostIdentifierFeature(rawValue: 1 << 0)
}

/// Reservation Notification Mask, feature 82h: a set bit masks that kind.
public struct ReservationNotificationMask: OptionSet, Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// Mask Registration Preempted (REGPRE).
    public static let registrationPreempted = ReservationNotificationMask(rawValue: 1 << 1)
    /// Mask Reservation Released (RESREL).
    public static let reservationReleased = ReservationNotificationMask(rawValue: 1 << 2)
    /// Mask Reservation Preempted (RESPRE).
    public static let reservationPreempted = ReservationNotificationMask(rawValue: 1 << 3)
}

/// Reservation Persistence, feature 83h.
public struct ReservationPersistence: OptionSet, Hashable, Sendable, BitwiseCopyable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// Persist Through Power Loss (PTPL).
    public static let persistThroughPowerLoss = ReservationPersistence(rawValue: 1 << 0)
}

/// Host Behavior Support, feature 16h: 512 bytes of data.
public struct HostBehaviorSupport: FixedStructure, Hashable {
    public static let byteCount = 512
    /// Advanced Command Retry Enable (ACRE): 1 if the host honours Command Retry Delay.
    public var advancedCommandRetry: UInt8 = 0

    public init() {}

    public mutating func layout(_ fields: FieldCoder) { fields.field(&advancedCommandRetry, at: 0) }
}
