/// Branches that a run is to meet: the rows of the failure matrix, and what else has a way of its own through the volume. A
/// branch that a long run never meets is not tested by it.
public enum MatrixBranch: String, CaseIterable, Sendable, Codable {
    // The rows of the failure matrix, in its order.
    case targetFailsWrite = "one target fails a write"
    case targetTimesOut = "one target times out"
    case queuePairBreaks = "a queue pair breaks"
    case twoTargetsLost = "two targets lost: suspended"
    case serviceResumed = "served again after a suspension"
    case recordWriteFails = "the record's write fails on a survivor"
    case deposed = "a conflict or a notification deposes"
    case initiatorDiesBetweenSends = "the initiator dies with writes under way, and the next one reconciles"
    case initiatorDiesInRecordUpdate = "the initiator dies inside a record update"
    case powerLossWithDirtyCache = "a target loses its power and unflushed blocks"
    case targetRestartsQuickly = "a target is back before it was missed"
    case returnsWithOlderEpoch = "a member returns with an older epoch"
    case returnsWithNewerEpoch = "an initiator meets a member of a newer epoch"
    case resyncSourceFails = "a member in sync is lost during a resync"
    case readErrorRepaired = "a read error is served by another member, and repaired"
    case mismatchReported = "a scrub reports a mismatch"
    case detachedClean = "a clean detach"

    // The rest of the design.
    case noMemberInSync = "no member in sync is left: recovery"
    case memberReturned = "a member returned and was resynced"
    case slowMemberDemoted = "a slow member is demoted"
    case memberFull = "a member answers that it is full"
    case inputOutputFailsSuspended = "I/O fails because the volume is suspended"
    case mediaErrorReturned = "no member could do an I/O"
    case deposedByCompetitor = "a paused initiator comes back after it was fenced"
    case attachSuperseded = "an attach is superseded"
    case preempted = "registrations of another initiator are preempted"
    case overlapHeld = "an I/O waits for one that it overlaps"
    case miscompared = "a compare-and-write finds something else"
    case commandRetried = "a command is sent again after a pause"
    case memberReplaced = "a member is replaced"
    case volumeGrown = "the volume grows"
    case scrubFinished = "a scrub finishes"
    case regionQuarantined = "a region is quarantined, and repaired"
    case receiverNotReady = "a SEND finds no receive buffer"
    case remoteAccessError = "a remote access error"
    case deviceRemoved = "an RDMA device is removed"
    case driveReseated = "a drive is taken out and put back, unflushed blocks lost"
    case scrubMisread = "a read of a scrub goes astray"
    case readHeldBack = "an RDMA READ waits for its turn"

    /// Its place among all.
    var index: Int { Self.indices[self] ?? 0 }
    private static let indices = Dictionary(uniqueKeysWithValues: allCases.enumerated().map { ($1, $0) })
}
