/// The phases of a member's life: one enum, one list of transitions.
public enum MemberPhase: UInt8, Sendable, BitwiseCopyable {
    case disconnected
    /// The driver was asked to connect.
    case connecting
    /// Connected; commands of an earlier association may still land (invariant 6).
    case draining
    /// Its reservations and superblock are looked at, before anything is believed.
    case surveying
    /// Looked at; waits for the volume's key to be chosen.
    case surveyed
    /// Our key is registered, others' are preempted and their commands aborted.
    case fencing
    /// The superblock and maps are read, now that nobody else writes.
    case reading
    /// Fenced and read; waits for the volume's decision.
    case ready
    /// Its metadata is being brought up to date.
    case joining
    /// Takes all writes and holds the record; in sync or behind.
    case active
    /// The driver was asked to disconnect, and has not said that it is done.
    case disconnecting
    /// Not used: its metadata is not this volume's.
    case refused

    var isConnected: Bool {
        switch self {
        case .disconnected, .connecting, .disconnecting, .refused: false
        default: true
        }
    }

    func mayBecome(_ next: MemberPhase) -> Bool {
        switch (self, next) {
        case (.disconnected, .connecting), (.connecting, .draining), (.connecting, .disconnected): true
        case (.draining, .surveying), (.surveying, .surveyed), (.surveyed, .fencing), (.fencing, .reading): true
        case (.reading, .ready), (.ready, .joining), (.joining, .active): true
        case (.ready, .reading), (.joining, .reading), (.active, .reading): true
        case (.active, .joining), (.joining, .surveying), (.active, .surveying), (.ready, .surveying): true
        case (.disconnecting, .disconnected), (.disconnecting, .refused), (.refused, .connecting): true
        case (_, .disconnected), (_, .disconnecting): isConnected
        default: false
        }
    }
}
