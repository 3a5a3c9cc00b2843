/// Ways to break the target on purpose, for tests that prove that the simulation notices.
package enum DeliberateDefect: UInt8, Sendable {
    case none
    /// Preempt and abort is answered while commands of the preempted hosts are at the block device.
    case preemptedCommandsNotAwaited
    /// Connect and Quiesce are answered while commands of the host's ended associations are at the block device.
    case formerCommandsNotAwaited
}
