import Base
import FabricInterface
import Glibc
import Synchronization

/// Registered memory, for as long as it is not released.
public struct Registration: Sendable, BitwiseCopyable {
    /// The registration covers the memory asked for, and the rest of its pages.
    public let localKey: UInt32
    public let remoteKey: UInt32
    let number: UInt32
}

/// One reactor's way to a `RegistrationCache`; used by its thread only, but for `release`, which any thread may call.
///
/// A hit is found in a table of the front's own by the page of its first byte, or for large registrations by the 2 MiB
/// that it lies in; it takes no lock, only a reference.
public final class RegistrationFront {
    /// A count that others read.
    final class Hits: Sendable {
        let count = Atomic<UInt64>(0)
    }

    let cache: RegistrationCache
    let hits = Hits()
    private let entries: UnsafeMutablePointer<RegistrationEntry>
    private let byPage: UnsafeMutablePointer<UInt32>
    private let byLargePage: UnsafeMutablePointer<UInt32>
    private static let pageSlots = 16384
    private static let largePageSlots = 1024

    init(_ cache: RegistrationCache) {
        self.cache = cache
        entries = cache.entries
        // Any number of an entry will do: whether it is the right one is seen there.
        byPage = .allocate(capacity: Self.pageSlots)
        byPage.initialize(repeating: 0, count: Self.pageSlots)
        byLargePage = .allocate(capacity: Self.largePageSlots)
        byLargePage.initialize(repeating: 0, count: Self.largePageSlots)
    }

    deinit {
        byPage.deallocate()
        byLargePage.deallocate()
    }

    /// Returns once all changes of the address space are known that began before the call; one system call of some 100 ns
    /// with `userfaultfd`, nothing otherwise.
    public func synchronize() {
        if cache.watch == .userfaultfd { cache.space.synchronize() }
    }

    /// Registers memory for one kind of access, or finds it registered. To be released when the work that uses it has
    /// completed.
    ///
    /// Synchronizes first, unless the caller says that it has since it was given the memory: once is enough for a batch.
    /// Without it, addresses that another thread is unmapping at this moment may already belong to this memory, and be
    /// taken for what they were before.
    ///
    /// Throws if the memory is not mapped, or if the limit on pinned memory is reached by registrations in use:
    /// then it works again when some of those have been released.
    @inline(__always)
    public func acquire(
        _ address: UnsafeRawPointer, length: Int, access: MemoryAccess, isSynchronized: Bool = false
    ) throws(TercetError) -> Registration {
        if !isSynchronized { synchronize() }
        let start = UInt(bitPattern: address)
        let (end, overflow) = start.addingReportingOverflow(UInt(bitPattern: length))
        guard length > 0, !overflow, end <= UInt(Int.max) else {
            throw TercetError(call: "memory registration", errno: EINVAL, reason: "no range of memory")
        }
        let slot = byPage + slotIndex(start >> 12, access, Self.pageSlots)
        let largeSlot = byLargePage + slotIndex(start >> 21, access, Self.largePageSlots)
        if _fastPath(cache.space.pending.load(ordering: .acquiring) == 0) {
            if let number = retain(slot.pointee, start, end, access) { return hit(number) }
            if let number = retain(largeSlot.pointee, start, end, access) { return hit(number) }
        }
        let number = try cache.find(start..<end, access)
        slot.pointee = number
        largeSlot.pointee = number
        return registration(number)
    }

    /// Ends the use of a registration.
    @inline(__always)
    public func release(_ registration: Registration) {
        if _slowPath(entries[Int(registration.number)].release()) { cache.end(registration.number) }
    }

    @inline(__always)
    private func slotIndex(_ page: UInt, _ access: MemoryAccess, _ slots: Int) -> Int {
        let mixed = (page &+ UInt(access.rawValue) << 40) &* 0x9E37_79B9_7F4A_7C15
        return Int(mixed >> 40) & (slots - 1)
    }

    @inline(__always)
    private func retain(_ number: UInt32, _ start: UInt, _ end: UInt, _ access: MemoryAccess) -> UInt32? {
        let entry = entries + Int(number)
        guard entry.pointee.retain() else { return nil }
        if entry.pointee.start <= start && end <= entry.pointee.end && entry.pointee.access == access { return number }
        if entry.pointee.release() { cache.end(number) }
        return nil
    }

    @inline(__always)
    private func hit(_ number: UInt32) -> Registration {
        hits.count.store(hits.count.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
        entries[Int(number)].lastUse.store(cache.clock.load(ordering: .relaxed) | 1, ordering: .relaxed)
        return registration(number)
    }

    @inline(__always)
    private func registration(_ number: UInt32) -> Registration {
        let region = entries[Int(number)].region
        return Registration(localKey: region.localKey, remoteKey: region.remoteKey, number: number)
    }
}
