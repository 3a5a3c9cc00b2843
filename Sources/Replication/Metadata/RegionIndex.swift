import Base

/// Which of the volume's regions, counted from its beginning. Below `VolumeGeometry.maximumRegionCount`.
public struct RegionIndex: SlotIndex {
    public let position: UInt32

    @inlinable @inline(__always)
    public init(position: UInt32) { self.position = position }

    /// The region of that number.
    @inlinable @inline(__always)
    public init(_ number: Int) { position = UInt32(number) }

    /// The region behind this one.
    @inlinable @inline(__always)
    public var next: RegionIndex { RegionIndex(position: position &+ 1) }
}

extension RegionIndex: Strideable {
    @inlinable @inline(__always)
    public static func < (left: RegionIndex, right: RegionIndex) -> Bool { left.position < right.position }

    @inlinable @inline(__always)
    public func distance(to other: RegionIndex) -> Int { other.offset - offset }

    @inlinable @inline(__always)
    public func advanced(by count: Int) -> RegionIndex { RegionIndex(position: UInt32(offset + count)) }
}

extension RegionIndex: ExpressibleByIntegerLiteral, CustomStringConvertible {
    @inlinable public init(integerLiteral value: UInt32) { position = value }
    public var description: String { "\(position)" }
}
