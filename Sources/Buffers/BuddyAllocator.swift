import Base

/// A buddy allocator over offsets: it cuts a range into power-of-two blocks and joins them again, without touching the
/// range itself. Both in O(log n), without allocating after `init`.
///
/// All state is behind constant pointers, so that a `let` of this type in a class costs no exclusivity check; used by one
/// thread at a time.
public struct BuddyAllocator: ~Copyable {
    /// The smallest block: 4 KiB, a page and the commonest I/O.
    public static let smallestBlock = 1 << smallestShift
    static let smallestShift = 12
    private static let orders = 32

    /// Bytes of the range.
    public let size: Int
    private let units: Int

    /// Free blocks form a doubly linked list per order; the links are unit numbers.
    private let next: UnsafeMutablePointer<UInt32>
    private let previous: UnsafeMutablePointer<UInt32>
    /// For the first unit of a block its order, with `freeFlag` if it is free; `inside` for all other units.
    private let state: UnsafeMutablePointer<UInt8>
    private let heads: UnsafeMutablePointer<UInt32>
    private let totals: UnsafeMutablePointer<Totals>

    private static let none = UInt32.max
    private static let inside: UInt8 = 0xFF
    private static let freeFlag: UInt8 = 0x80

    private struct Totals: BitwiseCopyable {
        /// A bit for each order that has a free block.
        var available: UInt32 = 0
        var bytesInUse = 0
    }

    /// Cuts `size` bytes, rounded down to the smallest block, into the largest aligned blocks.
    public init(size: Int) {
        units = max(0, size) >> Self.smallestShift
        invariant(units < Int(UInt32.max), "a buddy allocator has less than 16 TiB")
        self.size = units << Self.smallestShift
        let room = max(units, 1)
        next = .allocate(capacity: room)
        previous = .allocate(capacity: room)
        state = .allocate(capacity: room)
        heads = .allocate(capacity: Self.orders)
        totals = .allocate(capacity: 1)
        next.initialize(repeating: Self.none, count: room)
        previous.initialize(repeating: Self.none, count: room)
        state.initialize(repeating: Self.inside, count: room)
        heads.initialize(repeating: Self.none, count: Self.orders)
        totals.initialize(to: Totals())
        // From the end, so that allocation begins at the start.
        var end = units
        while end > 0 {
            // The largest block that ends here: aligned to its own size.
            let order = min(end.trailingZeroBitCount, Self.orders - 1)
            end -= 1 << order
            push(UInt32(end), order)
        }
    }

    deinit {
        next.deallocate()
        previous.deallocate()
        state.deallocate()
        heads.deallocate()
        totals.deallocate()
    }

    /// Bytes of the allocated blocks, what they were rounded up by included.
    public var bytesInUse: Int { totals.pointee.bytesInUse }

    /// The most that `allocate` could give now; 0 when nothing is free.
    public var largestFreeBlock: Int {
        let available = totals.pointee.available
        return available == 0 ? 0 : Self.smallestBlock << (31 - available.leadingZeroBitCount)
    }

    /// The bytes that an allocation of so many bytes takes.
    public static func blockSize(for bytes: Int) -> Int { smallestBlock << order(for: bytes) }

    private static func order(for bytes: Int) -> Int {
        let units = (max(bytes, 1) - 1) >> smallestShift
        return Int.bitWidth - units.leadingZeroBitCount
    }

    /// The offset of a block of at least so many bytes, or `nil` if there is none. A block is aligned to its size.
    public func allocate(_ bytes: Int) -> Int? {
        let wanted = Self.order(for: bytes)
        guard wanted < Self.orders else { return nil }
        let candidates = totals.pointee.available & ~((UInt32(1) << wanted) - 1)
        if candidates == 0 { return nil }
        var order = candidates.trailingZeroBitCount
        let unit = heads[order]
        unlink(unit, order)
        while order > wanted {
            order -= 1
            push(unit + (1 << order), order)
        }
        state[Int(unit)] = UInt8(wanted)
        totals.pointee.bytesInUse += Self.smallestBlock << wanted
        return Int(unit) << Self.smallestShift
    }

    /// Gives a block back that `allocate` returned.
    public func free(_ offset: Int) {
        var unit = self.unit(of: offset)
        var order = Int(state[unit])
        totals.pointee.bytesInUse -= Self.smallestBlock << order
        while order < Self.orders - 1 {
            let buddy = unit ^ (1 << order)
            guard buddy < units, state[buddy] == UInt8(order) | Self.freeFlag else { break }
            unlink(UInt32(buddy), order)
            state[max(unit, buddy)] = Self.inside
            unit = min(unit, buddy)
            order += 1
        }
        push(UInt32(unit), order)
    }

    /// The size of an allocated block.
    public func blockSize(at offset: Int) -> Int { Self.smallestBlock << Int(state[unit(of: offset)]) }

    private func unit(of offset: Int) -> Int {
        let unit = offset >> Self.smallestShift
        invariant(
            offset >= 0 && unit < units && unit << Self.smallestShift == offset && state[unit] < Self.freeFlag,
            "a block is freed once, by the offset that it was allocated with")
        return unit
    }

    /// Last in, first out: the block freed last is still in the processor's cache.
    private func push(_ unit: UInt32, _ order: Int) {
        let head = heads[order]
        next[Int(unit)] = head
        previous[Int(unit)] = Self.none
        if head != Self.none { previous[Int(head)] = unit }
        heads[order] = unit
        state[Int(unit)] = UInt8(order) | Self.freeFlag
        totals.pointee.available |= 1 << order
    }

    private func unlink(_ unit: UInt32, _ order: Int) {
        let after = next[Int(unit)]
        let before = previous[Int(unit)]
        if after != Self.none { previous[Int(after)] = before }
        if before != Self.none {
            next[Int(before)] = after
        } else {
            heads[order] = after
            if after == Self.none { totals.pointee.available &= ~(1 << order) }
        }
    }
}
