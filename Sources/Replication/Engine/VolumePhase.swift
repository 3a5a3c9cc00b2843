/// The phases of a volume's life.
public enum VolumePhase: UInt8, Sendable, BitwiseCopyable {
    case detached
    /// Finds, fences and reads the members.
    case attaching
    case serving
    /// A member in sync is there, and too few others: I/O waits (invariant 9).
    case suspended
    /// No member in sync is there: as attaching, with the I/O kept.
    case recovering
    /// Drains, flushes, clears the maps, marks clean, releases.
    case detaching
    /// Another initiator has taken over.
    case deposed

    /// The one list of what may follow what.
    func mayBecome(_ next: VolumePhase) -> Bool {
        switch (self, next) {
        case (.detached, .attaching), (.attaching, .serving), (.attaching, .suspended), (.attaching, .detached): true
        case (.serving, .suspended), (.serving, .recovering), (.serving, .detaching): true
        case (.suspended, .serving), (.suspended, .recovering), (.suspended, .detaching), (.suspended, .detached): true
        case (.recovering, .serving), (.recovering, .suspended), (.recovering, .detached): true
        case (.detaching, .detached), (.detaching, .recovering): true
        case (.deposed, .detached): true
        case (_, .deposed): self != .detached && self != .deposed
        default: false
        }
    }
}
