import FabricInterface
import Synchronization

/// A registration of a cache. Entries live in memory that is never freed while the cache is, so that a front may look at
/// one without knowing whether it is still alive: it takes a reference, which fails on a dead entry, and then looks.
///
/// What is not atomic is written only while the entry is dead and without references, under the lock.
struct RegistrationEntry: ~Copyable {
    /// Bit 63: dead, below it the number of references. A dead entry gets no new reference; whoever takes the last one
    /// away from a dead entry, or kills one that has none, owns its end.
    let state = Atomic<UInt64>(dead)
    /// The cache's clock at the last use.
    let lastUse = Atomic<UInt64>(0)
    var start: UInt = 0
    var end: UInt = 0
    var region = MemoryRegion(handle: 0, localKey: 0, remoteKey: 0)
    var access: MemoryAccess = []
    var isWatched = false
    /// The next of the retired entries.
    var next: UInt32 = .max

    static let dead: UInt64 = 1 << 63

    var range: Range<UInt> { start..<end }

    /// Takes a reference. False on a dead entry.
    @inline(__always)
    func retain() -> Bool {
        var current = state.load(ordering: .relaxed)
        while current & Self.dead == 0 {
            let (exchanged, original) = state.weakCompareExchange(
                expected: current, desired: current + 1, ordering: .acquiring)
            if exchanged { return true }
            current = original
        }
        return false
    }

    /// Gives a reference back. True if the caller now has to end the entry.
    @inline(__always)
    func release() -> Bool { state.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == Self.dead }

    /// Lets no more references be taken. True if there were none, and the caller has to end the entry.
    func kill() -> Bool { state.bitwiseOr(Self.dead, ordering: .acquiringAndReleasing).oldValue == 0 }

    var isReferenced: Bool { state.load(ordering: .acquiring) & ~Self.dead != 0 }
}
