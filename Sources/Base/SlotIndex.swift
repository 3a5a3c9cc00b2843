/// The index of a slot, with a type of its own for each kind of slot: a request is never taken for a connection.
///
/// One `UInt32`, at no cost. `none` stands for no slot; the number that it is stays inside of the type.
///
/// ```swift
/// struct RequestIndex: SlotIndex {
///     let position: UInt32
///     init(position: UInt32) { self.position = position }
/// }
/// ```
public protocol SlotIndex: BitwiseCopyable, Hashable, Sendable {
    /// The slot's place in its table, from 0. What crosses a queue of numbers (a work request's identifier, a tag) carries it.
    var position: UInt32 { get }
    init(position: UInt32)
}

extension SlotIndex {
    /// No slot.
    @inlinable @inline(__always)
    public static var none: Self { Self(position: .max) }

    @inlinable @inline(__always)
    public var isNone: Bool { position == .max }

    /// The index as a subscript of an array.
    @inlinable @inline(__always)
    public var offset: Int { Int(position) }

    /// The index, or `nil` for `none`.
    @inlinable @inline(__always)
    public var ifAny: Self? { isNone ? nil : self }
}
