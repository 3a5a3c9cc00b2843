import Base
import Synchronization

/// The hand with which one thread records in its ring.
///
/// A plain pointer, to be copied into whatever records: an entry costs three stores and a counter, without a lock,
/// an allocation or a reference count. It is valid as long as the `TraceRing` that it comes from.
public struct Trace: BitwiseCopyable {
    @usableFromInline let head: UnsafeMutablePointer<TraceHead>
    @usableFromInline let entries: UnsafeMutablePointer<TraceEntry>

    /// Records an event. `TraceKind` says what `a` and `b` mean for each kind.
    @inlinable
    @inline(__always)
    public func record(_ kind: TraceKind, _ a: UInt32, _ b: UInt64) {
        let position = head.pointee.position.load(ordering: .relaxed)
        let place = Int(truncatingIfNeeded: position & head.pointee.mask)
        entries[place] = TraceEntry(kind: kind.rawValue, a: a, b: b)
        head.pointee.position.store(position &+ 1, ordering: .releasing)
    }

    /// Says what time it is for the entries that follow. The driver of a poller calls it if it has read its clock. Times
    /// behind which nothing is recorded take no room: the next one replaces them.
    public func note(_ now: MonotonicTime) {
        let position = head.pointee.position.load(ordering: .relaxed)
        let isReplaced = position > 0 && position == head.pointee.timePosition
        let place = Int(truncatingIfNeeded: (isReplaced ? position &- 1 : position) & head.pointee.mask)
        entries[place] = TraceEntry(kind: TraceKind.time.rawValue, a: 0, b: now.nanoseconds)
        guard !isReplaced else { return }
        head.pointee.position.store(position &+ 1, ordering: .releasing)
        head.pointee.timePosition = position &+ 1
    }
}

/// The state of a ring, beside its entries.
@usableFromInline
struct TraceHead: ~Copyable {
    /// Entries recorded so far. Only the ring's thread writes it; a dump reads it from another one.
    @usableFromInline let position: Atomic<UInt64>
    /// The capacity, a power of two, less one.
    @usableFromInline let mask: UInt64
    /// `position` just behind the time that was noted last.
    @usableFromInline var timePosition: UInt64

    init(capacity: Int) {
        position = Atomic(0)
        mask = UInt64(capacity - 1)
        timePosition = 0
    }
}

/// One entry, as it is in memory and in a dump: 16 bytes.
@usableFromInline
struct TraceEntry: BitwiseCopyable, Equatable {
    @usableFromInline var kind: UInt32
    @usableFromInline var a: UInt32
    @usableFromInline var b: UInt64

    @inlinable
    init(kind: UInt32, a: UInt32, b: UInt64) {
        self.kind = kind
        self.a = a
        self.b = b
    }
}
