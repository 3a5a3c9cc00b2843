/// Ways to break the driver on purpose, for tests that prove that the simulation notices.
package enum VolumeDefect: UInt8, Sendable {
    case none
    /// The commands of a lost association are called dead with the next connection, whoever may still have them.
    case formerAssociationCalledDead
    /// A target's run stands for the opening of its namespace: a drive that was out for a moment counts as never gone.
    case runForInstance
    /// A connection goes on though another namespace is in the place of its own.
    case exchangedNamespaceKept
    /// That a member's registration was preempted is not told.
    case preemptionNotTold
    /// That a registration at any namespace was preempted is taken for the member's own.
    case preemptionOfAnyNamespace
    /// A flush of a channel that has written nothing since its last one is answered at once, whatever other channels have written.
    case flushOfOneChannel
}
