/// Reservation Notification log page: 64 bytes (NVMe Base, "Reservation Notification (Log Page Identifier 80h)").
public struct ReservationNotificationLog: FixedStructure, Hashable {
    public static let byteCount = 64

    /// Log Page Count: ascending, 0 in an empty log page.
    public var count: UInt64 = 0
    /// Reservation Notification Log Page Type.
    public var kind = ReservationNotificationKind.empty
    /// Number of Available Log Pages besides this one; 255 for that many or more.
    public var available: UInt8 = 0
    /// Namespace.
    public var nsid: UInt32 = 0

    /// An empty log page.
    public init() {}

    public init(count: UInt64, kind: ReservationNotificationKind, available: UInt8, nsid: UInt32) {
        self.count = count
        self.kind = kind
        self.available = available
        self.nsid = nsid
    }

    public mutating func layout(_ fields: FieldCoder) {
        fields.field(&count, at: 0)
        fields.field(&kind, at: 8)
        fields.field(&available, at: 9)
        fields.field(&nsid, at: 12)
    }
}

/// Reservation Notification Log Page Type.
public struct ReservationNotificationKind: RawRepresentable, Hashable, Sendable, BitwiseCopyable, OpenValue {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Empty: 0.
    public static let empty = ReservationNotificationKind(rawValue: 0)
    /// Registration preempted: 1.
    public static let registrationPreempted = ReservationNotificationKind(rawValue: 1)
    /// Reservation released: 2.
    public static let reservationReleased = ReservationNotificationKind(rawValue: 2)
    /// Reservation preempted: 3.
    public static let reservationPreempted = ReservationNotificationKind(rawValue: 3)

    /// The bit of the Reservation Notification Mask that silences this kind.
    public var mask: ReservationNotificationMask { ReservationNotificationMask(rawValue: 1 << UInt32(rawValue & 3)) }
}
