/// How many members a volume has.
public let memberCount = 3

/// Which of the volume's members: 0, 1 or 2.
public typealias MemberIndex = Int

/// A set of members.
public struct MemberSet: OptionSet, Hashable, Sendable, BitwiseCopyable, CustomStringConvertible {
    public let rawValue: UInt8
    @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// The set of one member.
    @inlinable public init(_ member: MemberIndex) { rawValue = 1 << UInt8(truncatingIfNeeded: member) }

    /// All three members.
    @inlinable public static var all: MemberSet { MemberSet(rawValue: 0b111) }

    /// How many members are in the set.
    @inlinable public var count: Int { rawValue.nonzeroBitCount }

    /// The member with the lowest index, or -1 for the empty set.
    @inlinable public var first: MemberIndex { rawValue == 0 ? -1 : rawValue.trailingZeroBitCount }

    @inlinable public func has(_ member: MemberIndex) -> Bool { rawValue >> UInt8(truncatingIfNeeded: member) & 1 == 1 }

    public var description: String {
        "{" + (0..<memberCount).filter(has).map(String.init).joined(separator: ",") + "}"
    }
}
