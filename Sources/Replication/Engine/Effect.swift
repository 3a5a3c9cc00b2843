/// A thing that a part of the engine asks for and that concerns other parts too: it is done when the part has returned.
enum Effect {
    /// A member is given up.
    case lose(MemberIndex, MemberLossReason)
    /// A member is not taken in: its metadata is not this volume's.
    case refuse(MemberIndex, MetadataError)
    /// The attach ends before anything was written.
    case failAttach(AttachError)
    /// Another initiator has taken over.
    case depose(AttachError)
    /// It has been decided who is in sync. Regions in which these members may differ are copied from the first of the
    /// sources that is in sync. Where the caches of all may be lost, flushes wait until these regions have been written again.
    case decided(sources: MemberSet, rewritesSource: Bool, areCachesLost: Bool)
    /// A member is fenced and read.
    case isReady(MemberIndex)
    /// A member that joins may have all that it needs by now.
    case mayHaveJoined(MemberIndex)
    /// The members that are used have changed.
    case reviewService
}
