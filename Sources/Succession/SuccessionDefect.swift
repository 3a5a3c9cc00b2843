/// Ways to break the succession on purpose, for tests that prove that the simulation notices.
package enum SuccessionDefect: Sendable {
    case none
    /// Hosts are told to come before the volume is attached.
    case optimizedBeforeAttached
    /// An answer of the registry that was overtaken is believed: looks have a gap, and nobody notices.
    case gapInLooksIgnored
    /// A volume goes back to a daemon that prefers it, whether that has a living path or not.
    case failBackWithoutPath
    /// An owner whose lease has ended is taken for one that does not write any more: the attach fences nobody. What does the effects does so.
    case leaseTrusted
    /// The owner serves without the reservation of hosts that the one before it has kept. What does the effects does so.
    case hostReservationForgotten
}
