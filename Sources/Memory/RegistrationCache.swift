import Base
import FabricInterface
import Glibc
import Synchronization

/// How a cache learns that memory is no longer what it was when it was registered.
public enum RegistrationWatch: Sendable {
    /// The kernel tells, through userfaultfd. Covers anonymous and shared memory; other memory (mapped files, on most
    /// kernels) is registered for each use. Memory of a file that is made shorter through the file is not noticed.
    case userfaultfd
    /// The owner of the memory calls `invalidate` before it unmaps or remaps any.
    case caller
    /// Nobody tells: a registration ends with its last use, and nothing is ever stale.
    case none
}

/// The counters of a cache. `pinnedBytes` counts memory twice that is registered for two kinds of access, as the kernel does.
public struct RegistrationCounters: Equatable, Sendable {
    public var hits: UInt64 = 0
    public var misses: UInt64 = 0
    /// Registrations ended to make room.
    public var evictions: UInt64 = 0
    /// Registrations ended because their memory changed.
    public var invalidations: UInt64 = 0
    public var pinnedBytes = 0
    public var regions = 0

    public init() {}
}

/// The registrations of callers' own memory with one device, shared by all queue pairs and reactors that use it.
///
/// Memory is registered by whole pages, for exactly the access that is asked for: what a peer may read is never also open
/// for writing. Registrations that are in use stay; the least recently used others go when pinned bytes or the device's
/// regions run out. A reactor uses the cache through a `RegistrationFront` of its own, whose hits take no lock.
///
/// A process that lets other code unmap memory with system calls of its own is safe with `userfaultfd` and `none`.
/// Interposing `munmap` is not offered: it misses the calls within the C library, `free` among them.
public final class RegistrationCache: @unchecked Sendable {
    // Unchecked: the lock of the address space guards the entries and the index; counts of users are atomic.

    public let context: FabricContext
    public let pinnedBytesLimit: Int
    /// How changes are noticed: what was asked for, or `none` if userfaultfd was and the system refuses it.
    public let watch: RegistrationWatch

    let entries: UnsafeMutablePointer<RegistrationEntry>
    let capacity: Int
    /// Goes up by two with each miss: what "recently" is measured by. Hits between two misses count as the odd number.
    let clock = Atomic<UInt64>(0)

    // All below: under the lock of the address space.
    private let indexes: UnsafeMutablePointer<RegionIndex>
    private static let accessKinds = 8
    private let freeEntries: UnsafeMutablePointer<UInt32>
    private var freeCount: Int
    private var firstRetired = UInt32.max
    /// Entries that the deregistering thread has in hand.
    private var reaping = 0
    private var counts = RegistrationCounters()
    private let fronts = Mutex<[RegistrationFront.Hits]>([])
    let space = AddressSpace.shared
    static let pageMask = UInt(getpagesize()) - 1

    /// - Parameters:
    ///   - context: any context of the device; all of its `domain` may use the registrations.
    ///   - maxRegions: registrations at once; no more than half of what the device has are used.
    ///   - watch: see `RegistrationWatch`.
    public init(
        _ context: FabricContext, pinnedBytesLimit: Int, maxRegions: Int = 4096, watch: RegistrationWatch = .userfaultfd
    ) {
        self.context = context
        self.pinnedBytesLimit = pinnedBytesLimit
        capacity = max(1, min(maxRegions, context.limits.maxMemoryRegions / 2, 1 << 20))
        self.watch = watch == .userfaultfd && !AddressSpace.shared.startWatching() ? .none : watch
        entries = .allocate(capacity: capacity)
        freeEntries = .allocate(capacity: capacity)
        for index in 0..<capacity {
            (entries + index).initialize(to: RegistrationEntry())
            (freeEntries + index).initialize(to: UInt32(capacity - 1 - index))
        }
        freeCount = capacity
        indexes = .allocate(capacity: Self.accessKinds)
        for kind in 0..<Self.accessKinds { (indexes + kind).initialize(to: RegionIndex(capacity: capacity)) }
        space.add(self)
    }

    deinit {
        space.remove(self)
        space.lock()
        while reaping > 0 { space.wait() }
        space.unlock()
        // Nobody else is left.
        for index in 0..<capacity where entries[index].region.handle != 0 {
            invariant(!entries[index].isReferenced, "a cache goes after the last use of its registrations")
            context.deregister(entries[index].region)
            if !entries[index].isWatched { continue }
            space.lock()
            space.unwatchIfUnused(entries[index].range)
            space.unlock()
        }
        entries.deinitialize(count: capacity)
        entries.deallocate()
        freeEntries.deallocate()
        indexes.deinitialize(count: Self.accessKinds)
        indexes.deallocate()
    }

    /// Makes a front for one reactor.
    public func makeFront() -> RegistrationFront {
        let front = RegistrationFront(self)
        fronts.withLock { $0.append(front.hits) }
        return front
    }

    /// Ends the registrations that touch a range of memory, before it is unmapped or remapped. Those in use end with
    /// their use.
    public func invalidate(_ memory: UnsafeRawBufferPointer) {
        let start = UInt(bitPattern: memory.baseAddress)
        let (end, overflow) = start.addingReportingOverflow(UInt(memory.count))
        if memory.isEmpty || overflow { return }
        space.lockSettled()
        space.tell(start..<end)
        space.unlock()
        endRetired()
    }

    public var counters: RegistrationCounters {
        space.lock()
        var result = counts
        space.unlock()
        fronts.withLock { fronts in
            for hits in fronts { result.hits += hits.count.load(ordering: .relaxed) }
        }
        return result
    }

    /// The registration for a range, from the cache or made now, with a reference taken.
    func find(_ range: Range<UInt>, _ access: MemoryAccess) throws(TercetError) -> UInt32 {
        let pages = range.lowerBound & ~Self.pageMask..<(range.upperBound + Self.pageMask) & ~Self.pageMask
        let bytes = pages.count
        let kind = Int(access.rawValue)
        guard bytes <= pinnedBytesLimit else {
            throw TercetError(
                call: "memory registration", errno: ENOBUFS,
                reason: "\(bytes) bytes are more than the limit on pinned memory, \(pinnedBytesLimit)")
        }
        let now = clock.wrappingAdd(2, ordering: .relaxed).newValue
        let number: UInt32
        let changes: UInt64
        switch try findOrReserve(range, bytes, kind, now) {
        case .found(let known): return known
        case .reserved(let free, let count):
            number = free
            changes = count
        }

        // Watched first: what happens to the memory from here on is told.
        let isWatched = watch == .userfaultfd && space.watch(pages)
        let made = register(pages, access)

        space.lock()
        space.registering -= 1
        let region: MemoryRegion
        switch made {
        case .success(let made): region = made
        case .failure(let error):
            counts.pinnedBytes -= bytes
            freeEntries[freeCount] = number
            freeCount += 1
            if isWatched { space.unwatchIfUnused(pages) }
            space.unlock()
            throw error
        }
        let entry = entries + Int(number)
        entry.pointee.start = pages.lowerBound
        entry.pointee.end = pages.upperBound
        entry.pointee.access = access
        entry.pointee.region = region
        entry.pointee.isWatched = isWatched
        entry.pointee.lastUse.store(now, ordering: .relaxed)
        counts.regions += 1
        // If this memory has changed meanwhile, it is not known what was registered: the entry is for this use only then.
        let isKept = (isWatched || watch == .caller) && !space.hasChanged(pages, since: changes)
        if isKept {
            indexes[kind].removeAll(overlapping: pages, onlyContained: true) { kill($0) }
            indexes[kind].insert(pages, number)
        }
        entry.pointee.state.store(isKept ? 1 : 1 | RegistrationEntry.dead, ordering: .releasing)
        space.unlock()
        if isKept { endRetired() }
        return number
    }

    private enum Room {
        /// A registration that is there, with a reference taken.
        case found(UInt32)
        /// An entry to be filled, and how many changes had been told by then.
        case reserved(UInt32, changes: UInt64)
    }

    /// The registration for a range, or room for one.
    private func findOrReserve(
        _ range: Range<UInt>, _ bytes: Int, _ kind: Int, _ now: UInt64
    ) throws(TercetError) -> Room {
        while true {
            var victims = RegionBatch()
            space.lockSettled()
            if let known = indexes[kind].containing(range) {
                // Entries of the index are alive as long as the lock is held.
                let isAlive = entries[Int(known)].retain()
                invariant(isAlive, "an indexed registration is alive")
                entries[Int(known)].lastUse.store(now | 1, ordering: .relaxed)
                counts.hits += 1
                space.unlock()
                return .found(known)
            }
            takeRetired(&victims)
            while counts.pinnedBytes + bytes > pinnedBytesLimit || freeCount == 0 {
                guard !victims.isFull, let region = evict() else { break }
                victims.append(region)
            }
            if counts.pinnedBytes + bytes <= pinnedBytesLimit && freeCount > 0 {
                counts.misses += 1
                counts.pinnedBytes += bytes
                freeCount -= 1
                let number = freeEntries[freeCount]
                let changes = space.changes
                space.registering += 1
                space.unlock()
                deregister(victims)
                return .reserved(number, changes: changes)
            }
            let pinned = counts.pinnedBytes
            space.unlock()
            deregister(victims)
            if victims.isFull { continue }
            throw TercetError(
                call: "memory registration", errno: ENOBUFS,
                reason: "all \(pinned) bytes of pinned memory are in use (limit \(pinnedBytesLimit))")
        }
    }

    /// Deregisters what was retired.
    private func endRetired() {
        var isDone = false
        while !isDone {
            var victims = RegionBatch()
            space.lock()
            takeRetired(&victims)
            space.unlock()
            deregister(victims)
            isDone = !victims.isFull
        }
    }

    private func deregister(_ victims: RegionBatch) {
        for index in 0..<victims.count { context.deregister(victims.regions[index]) }
    }

    /// Registers, making room on a device that has none left.
    private func register(_ pages: Range<UInt>, _ access: MemoryAccess) -> Result<MemoryRegion, TercetError> {
        let memory = UnsafeMutableRawBufferPointer(
            start: UnsafeMutableRawPointer(bitPattern: pages.lowerBound), count: pages.count)
        while true {
            do throws(TercetError) {
                return .success(try context.register(memory, access: access))
            } catch {
                guard error.errno == ENOMEM || error.errno == EAGAIN else { return .failure(error) }
                space.lock()
                let victim = evict()
                space.unlock()
                guard let victim else { return .failure(error) }
                context.deregister(victim)
            }
        }
    }

    /// Ends an entry whose last reference is gone.
    func end(_ number: UInt32) {
        space.lock()
        let region = vacate(number)
        space.unlock()
        context.deregister(region)
    }
}

/// Regions to be deregistered once the lock is free: under it nothing may be allocated.
private struct RegionBatch {
    private(set) var regions = [16 of MemoryRegion](repeating: MemoryRegion(handle: 0, localKey: 0, remoteKey: 0))
    private(set) var count = 0

    var isFull: Bool { count == 16 }

    mutating func append(_ region: MemoryRegion) {
        regions[count] = region
        count += 1
    }
}

// These are called under the lock of the address space.
extension RegistrationCache {
    /// Takes the least recently used registration that is not in use out; its region is the caller's to deregister.
    private func evict() -> MemoryRegion? {
        var oldest: UInt32?
        var oldestUse = UInt64.max
        for number in 0..<capacity where entries[number].state.load(ordering: .acquiring) == 0 {
            let use = entries[number].lastUse.load(ordering: .relaxed)
            if use < oldestUse {
                oldestUse = use
                oldest = UInt32(number)
            }
        }
        guard let oldest else { return nil }
        let entry = entries + Int(oldest)
        indexes[Int(entry.pointee.access.rawValue)].remove(entry.pointee.range, oldest)
        counts.evictions += 1
        let range = entry.pointee.range
        let isWatched = entry.pointee.isWatched
        guard entry.pointee.kill() else {
            // A front was faster; it ends with that use, and another one may be older.
            return evict()
        }
        let region = vacate(oldest)
        if isWatched { space.unwatchIfUnused(range) }
        return region
    }

    /// Frees a dead entry without references; its region is the caller's to deregister.
    private func vacate(_ number: UInt32) -> MemoryRegion {
        let entry = entries + Int(number)
        let region = entry.pointee.region
        entry.pointee.region.handle = 0
        counts.pinnedBytes -= entry.pointee.range.count
        counts.regions -= 1
        freeEntries[freeCount] = number
        freeCount += 1
        return region
    }

    /// Lets an entry that has left its index die; retires it if nobody uses it.
    private func kill(_ number: UInt32) {
        guard entries[Int(number)].kill() else { return }
        entries[Int(number)].next = firstRetired
        firstRetired = number
    }

    /// Forgets what overlaps a range that has changed. Allocates and frees nothing: the watching thread is here.
    func forget(_ range: Range<UInt>) {
        for kind in 0..<Self.accessKinds {
            indexes[kind].removeAll(overlapping: range) {
                counts.invalidations += 1
                kill($0)
            }
        }
        if firstRetired != .max { space.signalRetired() }
    }

    func overlapsLive(_ range: Range<UInt>) -> Bool {
        for kind in 0..<Self.accessKinds where indexes[kind].overlaps(range) { return true }
        return false
    }

    private func takeRetired(_ victims: inout RegionBatch) {
        while firstRetired != .max, !victims.isFull { victims.append(popRetired()) }
    }

    private func popRetired() -> MemoryRegion {
        let number = firstRetired
        firstRetired = entries[Int(number)].next
        return vacate(number)
    }

    var hasRetired: Bool { firstRetired != .max }

    /// Deregisters one retired entry, letting go of the lock meanwhile.
    func reapOne() {
        let region = popRetired()
        reaping += 1
        space.unlock()
        context.deregister(region)
        space.lock()
        reaping -= 1
        space.signal()
    }
}
