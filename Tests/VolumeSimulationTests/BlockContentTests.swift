import Testing
import VolumeSimulation

/// A workload's data tells blocks, and places within them, apart.
@Suite struct BlockContentTests {
    private static let size = 512

    private func content(_ value: UInt64, of block: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0xAA, count: Self.size)
        bytes.withUnsafeMutableBytes { BlockContent.lay(value, of: block, in: $0) }
        return bytes
    }

    private func value(of block: Int, _ bytes: [UInt8]) -> UInt64? {
        bytes.withUnsafeBytes { BlockContent.value(of: block, in: $0) }
    }

    @Test func aBlockHoldsItsValue() {
        #expect(value(of: 7, content(4711, of: 7)) == 4711)
        #expect(value(of: 7, [UInt8](repeating: 0, count: Self.size)) == 0)
    }

    @Test func aBlockOfAnotherPlaceIsNoValue() { #expect(value(of: 8, content(4711, of: 7)) == nil) }

    @Test func aShiftWithinABlockIsNoValue() {
        let bytes = content(4711, of: 7)
        #expect(value(of: 7, Array(bytes[8...] + bytes[..<8])) == nil)
        #expect(value(of: 7, Array(bytes[8...] + [UInt8](repeating: 0, count: 8))) == nil)
    }

    @Test func partsOfTwoWritesAreNoValue() {
        let (first, second) = (content(1, of: 7), content(2, of: 7))
        #expect(value(of: 7, Array(first[..<256] + second[256...])) == nil)
        let zeroes = [UInt8](repeating: 0, count: 256)
        #expect(value(of: 7, Array(first[..<256] + zeroes)) == nil)
        #expect(value(of: 7, Array(zeroes + first[256...])) == nil)
    }
}
