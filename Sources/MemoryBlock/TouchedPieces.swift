import Synchronization

/// Which parts of a device's memory have been written to, and so are memory that the system has given. The others read as
/// zeroes, and reading them is no reason to take memory for them.
final class TouchedPieces: Sendable {
    /// Bytes of a piece, as a power of two: a huge page, in which memory is taken if the system has them.
    private static let pieceShift: UInt64 = 21
    /// A device has no more units than that, so that all of them can be registered.
    private static let mostUnits: UInt64 = 1024

    private let byteCount: UInt64
    /// Bytes of a unit, as a power of two.
    private let unitShift: UInt64
    private let pieceCount: Int
    private let unitCount: Int
    /// For each piece, whether it has been written to.
    private nonisolated(unsafe) let isTouched: UnsafeMutablePointer<Atomic<Bool>>
    /// For each unit, how many of its pieces have not.
    private nonisolated(unsafe) let untouched: UnsafeMutablePointer<Atomic<Int>>

    init(byteCount: UInt64) {
        self.byteCount = byteCount
        var unitShift = Self.pieceShift
        while (byteCount - 1) >> unitShift >= Self.mostUnits { unitShift += 1 }
        self.unitShift = unitShift
        pieceCount = Int((byteCount - 1) >> Self.pieceShift) + 1
        unitCount = Int((byteCount - 1) >> unitShift) + 1
        let piecesPerUnit = 1 << Int(unitShift - Self.pieceShift)
        isTouched = .allocate(capacity: pieceCount)
        for piece in 0..<pieceCount { (isTouched + piece).initialize(to: Atomic(false)) }
        untouched = .allocate(capacity: unitCount)
        for unit in 0..<unitCount {
            (untouched + unit).initialize(to: Atomic(min(piecesPerUnit, pieceCount - unit * piecesPerUnit)))
        }
    }

    deinit {
        isTouched.deinitialize(count: pieceCount)
        isTouched.deallocate()
        untouched.deinitialize(count: unitCount)
        untouched.deallocate()
    }

    /// A range that is not empty is written to.
    func touch(_ offset: UInt64, _ length: UInt64) {
        for piece in places(offset, length, Self.pieceShift) where !isTouched[piece].load(ordering: .relaxed) {
            if isTouched[piece].exchange(true, ordering: .relaxed) { continue }
            untouched[piece >> Int(unitShift - Self.pieceShift)].subtract(1, ordering: .relaxed)
        }
    }

    /// The units that a range lies in, in bytes; `nil` if a part of them has not been written to.
    func surroundings(_ offset: UInt64, _ length: UInt64) -> Range<UInt64>? {
        let units = places(offset, length, unitShift)
        for unit in units where untouched[unit].load(ordering: .relaxed) > 0 { return nil }
        return UInt64(units.lowerBound) << unitShift..<min(UInt64(units.upperBound) << unitShift, byteCount)
    }

    private func places(_ offset: UInt64, _ length: UInt64, _ shift: UInt64) -> Range<Int> {
        Int(offset >> shift)..<Int((offset + (length - 1)) >> shift) + 1
    }
}
