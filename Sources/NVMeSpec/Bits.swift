/// Bit fields of integers.
extension FixedWidthInteger {
    /// The field of `width` bits whose lowest is bit `shift`.
    @inlinable
    @inline(__always)
    func bits(_ shift: Int, _ width: Int) -> Self { self >> Self(shift) & ((1 << Self(width)) - 1) }

    /// Replaces the field of `width` bits whose lowest is bit `shift`; higher bits of `value` are dropped.
    @inlinable
    @inline(__always)
    mutating func setBits(_ shift: Int, _ width: Int, _ value: Self) {
        let mask: Self = ((1 << Self(width)) - 1) << Self(shift)
        self = self & ~mask | value << Self(shift) & mask
    }
}
