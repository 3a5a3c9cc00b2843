/// A slot that can stand in one `SlotList`.
public protocol ListedSlot: BitwiseCopyable {
    associatedtype Index: SlotIndex
    /// The next slot in whatever list this one stands in.
    var next: Index { get set }
}

/// A first-in, first-out list of slots, linked through the slots themselves: nothing is allocated. A slot stands in one list
/// at a time.
public struct SlotList<Element: ListedSlot>: BitwiseCopyable {
    @usableFromInline var head = Element.Index.none
    @usableFromInline var tail = Element.Index.none

    @inlinable public init() {}

    @inlinable public var isEmpty: Bool { head.isNone }

    /// The slot that is removed next; `nil` in an empty list.
    @inlinable public var first: Element.Index? { head.ifAny }

    @inlinable
    public mutating func append(_ index: Element.Index, in table: borrowing SlotTable<Element.Index, Element>) {
        table[index].next = .none
        if tail.isNone { head = index } else { table[tail].next = index }
        tail = index
    }

    @inlinable
    public mutating func removeFirst(in table: borrowing SlotTable<Element.Index, Element>) -> Element.Index? {
        guard !head.isNone else { return nil }
        let first = head
        head = table[first].next
        if head.isNone { tail = .none }
        table[first].next = .none
        return first
    }

    /// Puts a slot back to where it was taken from.
    @inlinable
    public mutating func prepend(_ index: Element.Index, in table: borrowing SlotTable<Element.Index, Element>) {
        table[index].next = head
        head = index
        if tail.isNone { tail = index }
    }

    /// How many slots the list has. Walks the list.
    @inlinable
    public func count(in table: borrowing SlotTable<Element.Index, Element>) -> Int {
        var count = 0
        var current = head
        while !current.isNone {
            count += 1
            current = table[current].next
        }
        return count
    }

    /// Takes one slot out of the middle; `false` where it is not in the list. Walks the list.
    @inlinable
    public mutating func remove(
        _ index: Element.Index, in table: borrowing SlotTable<Element.Index, Element>
    ) -> Bool {
        var previous = Element.Index.none
        var current = head
        while !current.isNone {
            if current == index {
                let next = table[current].next
                if previous.isNone { head = next } else { table[previous].next = next }
                if tail == current { tail = previous }
                table[current].next = .none
                return true
            }
            previous = current
            current = table[current].next
        }
        return false
    }
}
