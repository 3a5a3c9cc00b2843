import Base
import FabricInterface
import Memory

/// The registrations of memory that namespaces lend, with one device. Made when first asked for: most targets have no
/// namespaces in memory.
final class LentRegistrations {
    private let context: FabricContext
    private var made: (cache: RegistrationCache, front: RegistrationFront)?
    private var evictionsSeen: UInt64 = 0

    init(_ context: FabricContext) { self.context = context }

    var count: Int { made?.cache.counters.regions ?? 0 }

    func acquire(_ start: UnsafeMutableRawPointer, _ byteCount: Int) throws(TercetError) -> Registration {
        try front().acquire(start, length: byteCount, access: .localWrite, isSynchronized: true)
    }

    func release(_ loan: Registration) { made?.front.release(loan) }

    /// Memory is about to be unmapped.
    func invalidate(_ memory: UnsafeMutableRawBufferPointer) { made?.cache.invalidate(UnsafeRawBufferPointer(memory)) }

    /// Registrations that had to go for others since the last call.
    func recentEvictions() -> UInt64 {
        guard let evictions = made?.cache.counters.evictions else { return 0 }
        defer { evictionsSeen = evictions }
        return evictions - evictionsSeen
    }

    private func front() -> RegistrationFront {
        if let made { return made.front }
        // A device with few regions needs them for what cannot do without.
        let regions = max(1, min(4096, context.limits.maxMemoryRegions / 8))
        // How much is pinned is for the system to say: it is memory that the namespaces have already.
        let cache = RegistrationCache(context, pinnedBytesLimit: .max, maxRegions: regions, watch: .caller)
        let front = cache.makeFront()
        made = (cache, front)
        return front
    }
}
