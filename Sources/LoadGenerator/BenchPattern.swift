/// The data of the bench: each unit of the namespace holds its own number and the count of writes to it, so that a read
/// tells a lost, a misplaced and an old write apart.
enum BenchPattern {
    /// Fills a unit.
    static func fill(_ memory: UnsafeMutableRawPointer, bytes: Int, unit: UInt64, version: UInt32) {
        let words = memory.assumingMemoryBound(to: UInt64.self)
        var value = seed(unit, version)
        for index in 0..<(bytes / 8) {
            words[index] = value
            value = value &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        }
    }

    /// Whether a unit holds what `fill` wrote.
    static func matches(_ memory: UnsafeRawPointer, bytes: Int, unit: UInt64, version: UInt32) -> Bool {
        let words = memory.assumingMemoryBound(to: UInt64.self)
        var value = seed(unit, version)
        for index in 0..<(bytes / 8) {
            guard words[index] == value else { return false }
            value = value &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        }
        return true
    }

    private static func seed(_ unit: UInt64, _ version: UInt32) -> UInt64 {
        (unit &+ 1) &* 0x9E37_79B9_7F4A_7C15 ^ UInt64(version) << 17
    }
}

/// xorshift64*: where the next I/O goes.
public struct BenchRandom {
    private var state: UInt64

    public init(seed: UInt64) { state = seed == 0 ? 0x9E37_79B9_7F4A_7C15 : seed }

    mutating func next() -> UInt64 {
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return state &* 2_685_821_657_736_338_717
    }

    /// A number below `bound`, which is not 0.
    public mutating func next(below bound: UInt64) -> UInt64 { next().multipliedFullWidth(by: bound).high }
}
