/// The check that noticed that a world is not sound.
public enum Oracle: String, CaseIterable, Sendable {
    /// A read or a comparison found what its block cannot hold: lost, stale or foreign data, or something unread.
    case contents
    /// A block does not hold one whole write of its own: it is torn, or another's.
    case tornBlock
    /// Two members hold different data where they must not.
    case differingMembers
    /// Two members differ, or would after a loss of power, and no bit says so.
    case uncoveredDifference
    /// The volume is not whole some time after the faults have stopped, or does not serve its blocks then.
    case notWhole
    /// A detach does not end, or leaves members that are not clean.
    case notClean
    /// An initiator had a write acknowledged that it submitted after another one had served.
    case acknowledgedAfterDeposition
    /// An initiator takes what is on the members for damaged, or for somebody else's.
    case metadataRefused
    /// An I/O ended twice.
    case completedTwice
    /// An I/O ended in an error that no fault explains.
    case unexplainedError
    /// Memory was written that had been given back.
    case bufferWritten
    /// A block that went bad is not found, is served, or is not repaired.
    case rotNotHandled
    /// A volume does not serve, or gives up a member with which nothing is wrong, while only one other member is at fault.
    case notAvailable
    /// Regions were copied twice, or without a bit that asks for it, though nothing went wrong any more.
    case copiedInVain
    /// A second volume of a host is deposed, though nobody else has attached it.
    case disturbed
    /// Something was not given back, or a process does not come to its end.
    case leftBehind
    /// A daemon tells hosts to come before it has attached the volume.
    case shownUnattached
    /// A daemon goes by an answer of the registry that a later one has overtaken.
    case overtakenAnswer
    /// A reservation of the volume's hosts does not hold any more, or one that was given up does.
    case reservationForgotten
    /// No daemon serves the volume, though one lives and reaches two members.
    case noPath
}
