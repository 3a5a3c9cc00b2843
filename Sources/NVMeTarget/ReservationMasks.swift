import NVMeSpec

/// The notifications of reservations that a host does not want (NVMe Base, "Reservation Notification Mask").
struct ReservationMasks: Sendable {
    private var single: [UInt32: ReservationNotificationMask] = [:]
    /// The mask of all namespaces; it holds for those that were there then.
    private var all: ReservationNotificationMask = []
    private var lastInstance: UInt64 = 0

    mutating func set(_ mask: ReservationNotificationMask, of nsid: UInt32) { single[nsid] = mask }

    /// - Parameter lastInstance: `Namespace.instance` of the last namespace that is there.
    mutating func setAll(_ mask: ReservationNotificationMask, upTo lastInstance: UInt64) {
        single = [:]
        all = mask
        self.lastInstance = lastInstance
    }

    func mask(of nsid: UInt32, instance: UInt64) -> ReservationNotificationMask {
        single[nsid] ?? (instance <= lastInstance ? all : [])
    }
}
