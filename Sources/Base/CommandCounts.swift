/// Commands of one kind.
public struct CommandCount: Sendable, BitwiseCopyable, Equatable {
    public var commands: UInt64 = 0
    public var bytes: UInt64 = 0
    /// Sum of the times that they took.
    public var nanoseconds: UInt64 = 0

    public init() {}

    @inlinable @inline(__always)
    public mutating func add(_ byteCount: UInt64, _ time: UInt64) {
        commands &+= 1
        bytes &+= byteCount
        nanoseconds &+= time
    }

    public static func += (left: inout CommandCount, right: CommandCount) {
        left.commands &+= right.commands
        left.bytes &+= right.bytes
        left.nanoseconds &+= right.nanoseconds
    }
}

/// Times that commands took: four buckets for each power of two, from a microsecond to 17 seconds.
public struct LatencyCounts: Sendable, Equatable {
    public static let bucketCount = 96
    /// Reactors count in buckets of the same kind for all powers of two, so that no I/O has to be told from the shortest and the
    /// longest.
    @inlinable public static var fineCount: Int { 256 }
    /// The fine bucket of a microsecond.
    private static let firstFine = 40

    /// The counts of `upperNanoseconds`.
    public private(set) var counts = [UInt64](repeating: 0, count: LatencyCounts.bucketCount)

    /// The longest time of each bucket; shorter ones are in the first, longer ones in the last.
    public static let upperNanoseconds: [UInt64] = (0..<bucketCount).map { index -> UInt64 in
        let quarters = UInt64(5 + index % 4)
        return (quarters << UInt64(index / 4 + 8)) - 1
    }

    @inlinable @inline(__always)
    public static func fineBucket(of nanoseconds: UInt64) -> Int {
        let time = nanoseconds | 1
        let octave = 63 &- time.leadingZeroBitCount
        // The two bits behind the highest one, and that one.
        let quarter = Int(truncatingIfNeeded: (time &<< 2) &>> UInt64(truncatingIfNeeded: octave))
        return octave &* 4 &+ quarter &- 4
    }

    public init() {}

    /// Adds what was counted in `fineCount` fine buckets.
    public mutating func add(fine: UnsafePointer<UInt64>) {
        for bucket in 0..<Self.bucketCount {
            let first = bucket + Self.firstFine
            let places = (bucket == 0 ? 0 : first)...(bucket == Self.bucketCount - 1 ? Self.fineCount - 1 : first)
            for place in places { counts[bucket] &+= fine[place] }
        }
    }
}
