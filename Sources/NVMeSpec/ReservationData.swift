/// Data of Reservation Register: 16 bytes (NVMe Base, "Reservation Register Data Structure").
public struct ReservationRegisterData: FixedStructure, Hashable {
    public static let byteCount = 16
    /// Current Reservation Key (CRKEY).
    public var currentKey: UInt64 = 0
    /// New Reservation Key (NRKEY).
    public var newKey: UInt64 = 0

    public init() {}

    public init(currentKey: UInt64, newKey: UInt64) {
        self.currentKey = currentKey
        self.newKey = newKey
    }

    public mutating func layout(_ fields: FieldCoder) {
        fields.field(&currentKey, at: 0)
        fields.field(&newKey, at: 8)
    }
}

/// Data of Reservation Acquire: 16 bytes (NVMe Base, "Reservation Acquire Data Structure").
public struct ReservationAcquireData: FixedStructure, Hashable {
    public static let byteCount = 16
    /// Current Reservation Key (CRKEY).
    public var currentKey: UInt64 = 0
    /// Preempt Reservation Key (PRKEY).
    public var preemptKey: UInt64 = 0

    public init() {}

    public init(currentKey: UInt64, preemptKey: UInt64 = 0) {
        self.currentKey = currentKey
        self.preemptKey = preemptKey
    }

    public mutating func layout(_ fields: FieldCoder) {
        fields.field(&currentKey, at: 0)
        fields.field(&preemptKey, at: 8)
    }
}

/// Data of Reservation Release: 8 bytes (NVMe Base, "Reservation Release Data Structure").
public struct ReservationReleaseData: FixedStructure, Hashable {
    public static let byteCount = 8
    /// Current Reservation Key (CRKEY).
    public var currentKey: UInt64 = 0

    public init() {}

    public init(currentKey: UInt64) { self.currentKey = currentKey }

    public mutating func layout(_ fields: FieldCoder) { fields.field(&currentKey, at: 0) }
}

extension ReservationType {
    /// Every registrant is a holder.
    public var isAllRegistrants: Bool {
        self == .writeExclusiveAllRegistrants || self == .exclusiveAccessAllRegistrants
    }

    /// Registrants other than the holder have the holder's access.
    public var isRegistrantsOnly: Bool {
        self == .writeExclusiveRegistrantsOnly || self == .exclusiveAccessRegistrantsOnly
    }

    /// Hosts without access may still read.
    public var isWriteExclusive: Bool {
        switch self {
        case .writeExclusive, .writeExclusiveRegistrantsOnly, .writeExclusiveAllRegistrants: true
        case .exclusiveAccess, .exclusiveAccessRegistrantsOnly, .exclusiveAccessAllRegistrants: false
        }
    }
}
