/// How many members a volume has.
public let memberCount = 3

/// Which of the volume's members: 0, 1 or 2.
public struct MemberIndex: Hashable, Comparable, Sendable, BitwiseCopyable {
    @usableFromInline let place: UInt8

    /// The member of that number: 0, 1 or 2, and a mistake of the caller's where it is neither.
    @inlinable public init(_ number: Int) {
        precondition(number >= 0 && number < memberCount, "a volume has members 0, 1 and 2")
        place = UInt8(truncatingIfNeeded: number)
    }

    @inlinable init(place: UInt8) { self.place = place }

    /// The member's number, as records and operators call it.
    @inlinable public var number: Int { Int(place) }

    /// The member after this one, round and round.
    @inlinable public var next: MemberIndex { MemberIndex((number + 1) % memberCount) }

    @inlinable public static func < (left: MemberIndex, right: MemberIndex) -> Bool { left.place < right.place }
}

extension MemberIndex: ExpressibleByIntegerLiteral, CustomStringConvertible {
    @inlinable public init(integerLiteral value: Int) { self.init(value) }
    public var description: String { "\(place)" }
}

/// A set of members, in the order of their numbers.
public struct MemberSet: Hashable, Sendable, BitwiseCopyable {
    @usableFromInline var bits: UInt8
    @inlinable init(bits: UInt8) { self.bits = bits }

    /// The set of one member.
    @inlinable public init(_ member: MemberIndex) { bits = 1 << member.place }

    /// All three members.
    @inlinable public static var all: MemberSet { MemberSet(bits: 0b111) }

    /// How many members are in the set.
    @inlinable public var count: Int { bits.nonzeroBitCount }

    /// The member with the lowest number, or `nil` for the empty set.
    @inlinable public var first: MemberIndex? {
        bits == 0 ? nil : MemberIndex(place: UInt8(truncatingIfNeeded: bits.trailingZeroBitCount))
    }
}

extension MemberSet {
    /// The members that `others` has too; all if it has none of them.
    @inlinable public func preferring(_ others: MemberSet) -> MemberSet {
        let both = intersection(others)
        return both.isEmpty ? self : both
    }
}

extension MemberSet: SetAlgebra {
    @inlinable public init() { bits = 0 }
    @inlinable public var isEmpty: Bool { bits == 0 }
    @inlinable public func contains(_ member: MemberIndex) -> Bool { bits >> member.place & 1 == 1 }
    @inlinable public func union(_ other: MemberSet) -> MemberSet { MemberSet(bits: bits | other.bits) }
    @inlinable public func intersection(_ other: MemberSet) -> MemberSet { MemberSet(bits: bits & other.bits) }
    @inlinable public func symmetricDifference(_ other: MemberSet) -> MemberSet { MemberSet(bits: bits ^ other.bits) }
    @inlinable public func subtracting(_ other: MemberSet) -> MemberSet { MemberSet(bits: bits & ~other.bits) }
    @inlinable public mutating func formUnion(_ other: MemberSet) { bits |= other.bits }
    @inlinable public mutating func formIntersection(_ other: MemberSet) { bits &= other.bits }
    @inlinable public mutating func formSymmetricDifference(_ other: MemberSet) { bits ^= other.bits }
    @inlinable public mutating func subtract(_ other: MemberSet) { bits &= ~other.bits }

    @inlinable @discardableResult
    public mutating func insert(_ member: MemberIndex) -> (inserted: Bool, memberAfterInsert: MemberIndex) {
        defer { bits |= 1 << member.place }
        return (!contains(member), member)
    }

    @inlinable @discardableResult
    public mutating func remove(_ member: MemberIndex) -> MemberIndex? {
        defer { bits &= ~(1 << member.place) }
        return contains(member) ? member : nil
    }

    @inlinable @discardableResult
    public mutating func update(with member: MemberIndex) -> MemberIndex? {
        insert(member).inserted ? nil : member
    }

    /// The set without a member.
    @inlinable public func without(_ member: MemberIndex) -> MemberSet { MemberSet(bits: bits & ~(1 << member.place)) }
}

extension MemberSet: Sequence, CustomStringConvertible {
    /// Takes the members out, lowest first; changes of the set that is gone through do not count.
    public struct Iterator: IteratorProtocol, BitwiseCopyable {
        @usableFromInline var bits: UInt8
        @inlinable init(bits: UInt8) { self.bits = bits }

        @inlinable public mutating func next() -> MemberIndex? {
            if bits == 0 { return nil }
            let place = UInt8(truncatingIfNeeded: bits.trailingZeroBitCount)
            bits &= bits - 1
            return MemberIndex(place: place)
        }
    }

    @inlinable public func makeIterator() -> Iterator { Iterator(bits: bits) }
    @inlinable public var underestimatedCount: Int { count }

    public var description: String { "{" + map { "\($0)" }.joined(separator: ",") + "}" }
}

extension Array {
    /// In a list of what belongs to the members, in the order of their numbers: what belongs to one.
    @inlinable public subscript(member: MemberIndex) -> Element {
        @inline(__always) get { self[member.number] }
        @inline(__always) _modify { yield &self[member.number] }
    }
}

/// One value for each member.
struct PerMember<Element> {
    private var values: InlineArray<3, Element>

    init(repeating value: Element) { values = InlineArray(repeating: value) }

    /// The values that `make` gives for the members, asked in order.
    init(_ make: (MemberIndex) -> Element) { values = InlineArray { make(MemberIndex($0)) } }

    subscript(member: MemberIndex) -> Element {
        @inline(__always) get { values[member.number] }
        @inline(__always) _modify { yield &values[member.number] }
    }
}

extension PerMember: BitwiseCopyable where Element: BitwiseCopyable {}
