/// The place where reservations with "Persist Through Power Loss" are kept (NVMe Base, "Reservation Persistence").
///
/// A reservation command is answered only after its effect is stored.
public protocol ReservationStore: Sendable {
    /// All reservations are kept, whether they persist through power loss or not: another target may go on with the namespace.
    var keepsAll: Bool { get }

    /// The last that was stored for a namespace; `nil` if nothing was.
    func load(subsystem: String, nsid: UInt32) throws -> [UInt8]?

    /// Stores, durably, and then calls `completion`, from any thread, with what went wrong. `nil` removes what was stored. Must not
    /// block.
    ///
    /// - Parameter bytes: makes what is to be stored, which may take long: called from any thread.
    func save(
        _ bytes: (@Sendable () -> [UInt8])?, subsystem: String, nsid: UInt32,
        completion: @escaping @Sendable (String?) -> Void)
}

extension ReservationStore {
    public var keepsAll: Bool { false }
}
