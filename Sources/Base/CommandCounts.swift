/// Commands of one kind.
public struct CommandCount: Sendable, BitwiseCopyable, Equatable {
    public var commands: UInt64 = 0
    public var bytes: UInt64 = 0
    /// Sum of the times that they took.
    public var nanoseconds: UInt64 = 0

    public init() {}

    public init(commands: UInt64, bytes: UInt64, nanoseconds: UInt64) {
        self.commands = commands
        self.bytes = bytes
        self.nanoseconds = nanoseconds
    }

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
    /// The fine bucket of 1024 ns, and the first of those that no time of 2 ns or longer comes to.
    private static let (firstFine, firstShort) = (36, 252)

    /// The counts of `upperNanoseconds`.
    public private(set) var counts = [UInt64](repeating: 0, count: LatencyCounts.bucketCount)

    /// The longest time of each bucket; shorter ones are in the first, longer ones in the last.
    public static let upperNanoseconds: [UInt64] = (0..<bucketCount).map { index -> UInt64 in
        let quarters = UInt64(5 + index % 4)
        return (quarters << UInt64(index / 4 + 8)) - 1
    }

    /// As a floating-point number a time has its power of two in the exponent and the quarter in the first two bits behind it:
    /// four instructions. A time of 0 is in the first bucket, and one of 1 ns in that of `firstShort`.
    @inlinable @inline(__always)
    public static func fineBucket(of nanoseconds: UInt64) -> Int {
        let bits = Double(Int64(bitPattern: nanoseconds)).bitPattern
        return Int(UInt8(truncatingIfNeeded: bits &>> 50))
    }

    public init() {}

    /// Adds what was counted in `fineCount` fine buckets.
    public mutating func add(fine: UnsafePointer<UInt64>) {
        for place in 0..<Self.fineCount {
            let isShort = place < Self.firstFine || place >= Self.firstShort
            counts[isShort ? 0 : min(place - Self.firstFine, Self.bucketCount - 1)] &+= fine[place]
        }
    }
}
