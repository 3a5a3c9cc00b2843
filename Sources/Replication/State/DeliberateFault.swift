/// Ways to break the engine on purpose, for tests that prove that the simulation notices. Each is a bug that a system of
/// this kind has had, or nearly.
package enum DeliberateFault: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    case none
    /// Data leaves before its region's bit is durable.
    case intentAfterSend
    /// A write is acknowledged before the record that excuses a lost member is durable (Mayastor 141a5fb0, SPDK raid1).
    case acknowledgeBeforeRecord
    /// One member's confirmation makes a record valid (DRBD 669942686).
    case recordConfirmedByOne
    /// Commands of the deposed initiator that run already are not aborted.
    case preemptWithoutAbort
    /// A host's buffer is given back while a member's command may still read it.
    case bufferGivenBackAtTimeout
    /// A flush leaves out one member.
    case flushSkipsMember
    /// Copying and writing do not exclude each other.
    case resyncWithoutLock
    /// Set bits are dropped where all members' records agree (DRBD 3cb0ba6d1).
    case equalEpochsTrusted
    /// A target that lost its cache is believed to hold what it had not flushed.
    case bootInstanceIgnored
    /// Overlapping writes are sent without order (SPDK and md raid1).
    case overlapUnordered
    /// A read is served while a write that overlaps it is in flight.
    case readOfInFlightBlock
    /// Writes are not sent to a member that is being rebuilt (Mayastor ea4902ca).
    case returningMemberNotWritten
    /// Writes of a degraded volume are not noted (md 46669e8).
    case behindBitsNotSet
    /// A member is used again while its old association's commands may still land.
    case oldAssociationNotAwaited
    /// Members that are behind serve reads.
    case behindMemberRead
    /// A region's bit is cleared without a flush.
    case intentClearedUnflushed
    /// Dirty regions are read from any member before they are reconciled.
    case unreconciledRead
    /// Writes that a lost member had not flushed are not marked, neither by the survivors nor from its own map. (Each alone hides
    /// the lack of the other, because all active members hold the same bits.)
    case lossNotMarked
    /// A member that lost its cache stays in sync beside one that kept it, to be reconciled.
    case lostCacheInSync
    /// A member that surely lost its cache is believed beside one that does not tell.
    case untoldCacheLost
    /// A member that surely lost its cache is believed beside one that only failed a flush.
    case readableCacheLost
    /// The member that dirty regions are copied from is not written: a flush of it that succeeds after one that failed is believed
    /// (PostgreSQL's fsync, 2018).
    case sourceNotRewritten
    /// A write with FUA that failed is tried again, and what its failure told is forgotten.
    case failedDurabilityTrusted
    /// A flush is sent, after all members may have lost their caches, before what was dirty has been written again.
    case flushBeforeRewritten
    /// A member that could not write regions again, which others were copied from it, counts as holding them for good.
    case unwrittenSourceTrusted
    /// The reservations are given up though a writer that was fenced may still write.
    case everyWriterDetached
    /// The lowest record found is believed, not the highest.
    case oldestRecordTrusted
    /// A record counts as soon as it has been sent (DRBD 7bc900858).
    case recordSentIsBelieved
    /// A member that lags is left out, and no record says so (DRBD 1eac40e06).
    case lossNotRecorded
    /// Others write between the comparison and the write of a compare-and-write.
    case compareUnordered
    /// The newest record found is believed, also where a member that it names in sync never confirmed it.
    case unconfirmedRecordBelieved
    /// A member counts as holding a record that is in one of its slots only, while the other holds the one before.
    case recordInOneSlot
    /// A member is taken into sync that has not confirmed the valid record.
    case unconfirmedMemberTaken
    /// That another initiator has taken a member over is not heeded until a command says so.
    case notificationIgnored
    /// A region counts as copied when its first part has been.
    case copyEndsShort
    /// Copied data counts as there before it has been flushed.
    case copyCountsUnflushed
    /// Others' registrations are left alone: a member is believed before its former writer is kept out.
    case othersNotPreempted
    /// The record that was found before the member was fenced is believed, and not read again.
    case surveyBelieved
    /// Bits of regions that nobody writes to any more are never cleared.
    case bitsKept
    /// A write is acknowledged only when all members have it, lost ones too.
    case allCopiesNeeded
    /// A scrub finds that all members are equal.
    case scrubFindsNothing
    /// A detach gives the members up before the record says that nothing is dirty.
    case detachUnrecorded
    /// A flush that failed is sent again, and believed when it succeeds (PostgreSQL's fsync, 2018).
    case failedFlushTrusted
    /// A namespace that a member had until another one took its place is taken for the member's.
    case replacedMemberBelieved
    /// A namespace that takes a member's place, and has an old record of the volume, is brought up to date by the bits alone.
    case formerRecordBelieved
    /// A slot with a record counts although its checksum is wrong: a loss of power has torn it.
    case tornRecordBelieved
    /// Every second region that has been copied is copied again.
    case copiesDoneTwice
    /// A member is given up as soon as one command takes 2 ms.
    case memberGivenUpAtOnce
}
