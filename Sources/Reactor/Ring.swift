import Base
import Synchronization

/// Plain values handed from one thread to one other, in order: a queue in a ring of fixed size. No lock, no allocation.
///
/// Each side writes a counter of its own and reads the other's only when, by what it last saw, the ring is full or empty.
public final class Ring<Element: BitwiseCopyable & Sendable>: @unchecked Sendable {
    // Unchecked: `elements` is written between the consumer's count and the producer's, and read below the producer's: no place is
    // both at once.
    @usableFromInline let elements: UnsafeMutablePointer<Element>
    @usableFromInline let mask: UInt64
    /// Elements pushed so far. The producer's.
    @usableFromInline let pushed = Atomic<UInt64>(0)
    /// The producer's last view of `popped`.
    @usableFromInline var poppedSeen: UInt64 = 0
    /// Keeps what each side writes in cache lines of its own.
    private let gap = [8 of UInt64](repeating: 0)
    /// Elements popped so far. The consumer's.
    @usableFromInline let popped = Atomic<UInt64>(0)
    /// The consumer's last view of `pushed`.
    @usableFromInline var pushedSeen: UInt64 = 0

    /// - Parameter capacity: elements that the ring holds at least.
    public init(capacity: Int) {
        invariant(capacity > 0, "a ring holds something")
        var size = 1
        while size < capacity { size *= 2 }
        elements = .allocate(capacity: size)
        mask = UInt64(size - 1)
    }

    deinit { elements.deallocate() }

    /// Adds an element; `false` where the ring is full. The producer's thread only.
    @inlinable
    public func push(_ element: Element) -> Bool {
        let place = pushed.load(ordering: .relaxed)
        if place &- poppedSeen > mask {
            poppedSeen = popped.load(ordering: .acquiring)
            if place &- poppedSeen > mask { return false }
        }
        elements[Int(place & mask)] = element
        pushed.store(place &+ 1, ordering: .releasing)
        return true
    }

    /// Takes the oldest element; `nil` where the ring is empty. The consumer's thread only.
    @inlinable
    public func pop() -> Element? {
        let place = popped.load(ordering: .relaxed)
        if place == pushedSeen {
            pushedSeen = pushed.load(ordering: .acquiring)
            if place == pushedSeen { return nil }
        }
        let element = elements[Int(place & mask)]
        popped.store(place &+ 1, ordering: .releasing)
        return element
    }
}
