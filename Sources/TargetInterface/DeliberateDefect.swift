/// Ways to break the target on purpose, for tests that prove that the simulation notices.
package enum DeliberateDefect: UInt8, Sendable {
    case none
    /// Preempt and abort is answered while commands of the preempted hosts are at the block device.
    case preemptedCommandsNotAwaited
    /// Connect and Quiesce are answered while commands of the host's ended associations are at the block device.
    case formerCommandsNotAwaited
    /// A reservation command takes effect, and is answered, before what it changes is stored.
    case reservationBelievedBeforeStored
    /// Only the reactor that a reservation command came to takes it on.
    case reservationTakenOnByOneReactor
    /// Hosts do what they want, whatever a reservation says.
    case reservationNotJudged
    /// Commands of preempted hosts that wait for their data, or for memory, go on when they have it.
    case waitingCommandsNotAborted
    /// A command is judged when it comes, and not again before it goes to the block device.
    case judgedOnce
    /// Preempt and abort waits for commands of the preempted hosts on the reactor that it came to, and not on others.
    case victimsAwaitedByOneReactor
    /// A flush that a device failed is told to the host that sent it alone.
    case failedFlushNotTold
    /// A controller whose host is silent lives on.
    case keepAliveNotWatched
}
