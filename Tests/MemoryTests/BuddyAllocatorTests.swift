import Base
import Buffers
import Testing

@Suite struct BuddyAllocatorTests {
    @Test(arguments: [1, 4096, 4097, 3 << 12, 1 << 20, (1 << 20) + 4096, 5_000_000])
    func theWholeRangeCanBeHadInTheSmallestBlocksAndJoinsAgain(size: Int) {
        let allocator = BuddyAllocator(size: size)
        let whole = allocator.largestFreeBlock
        var offsets: Set<Int> = []
        while let offset = allocator.allocate(1) {
            #expect(offset % 4096 == 0 && offset + 4096 <= size)
            #expect(offsets.insert(offset).inserted)
        }
        #expect(offsets.count == size / 4096)
        #expect(allocator.bytesInUse == size / 4096 * 4096)
        for offset in offsets { allocator.free(offset) }
        #expect(allocator.largestFreeBlock == whole)
        #expect(allocator.bytesInUse == 0)
    }

    @Test func sizesAreRoundedUpToPowersOfTwo() {
        let allocator = BuddyAllocator(size: 4 << 20)
        for (bytes, expected) in [
            (0, 4096), (1, 4096), (4096, 4096), (4097, 8192), (12288, 16384), (1 << 20, 1 << 20),
            ((1 << 20) + 1, 2 << 20),
        ] {
            let offset = allocator.allocate(bytes)!
            #expect(allocator.blockSize(at: offset) == expected)
            #expect(offset % expected == 0)
            allocator.free(offset)
        }
        #expect(allocator.allocate((4 << 20) + 1) == nil)
        #expect(allocator.allocate(Int.max) == nil)
    }

    @Test func theBlockFreedLastIsTakenFirst() {
        let allocator = BuddyAllocator(size: 1 << 20)
        let blocks = (0..<8).map { _ in allocator.allocate(4096)! }
        allocator.free(blocks[2])
        allocator.free(blocks[5])
        #expect(allocator.allocate(4096) == blocks[5])
        #expect(allocator.allocate(4096) == blocks[2])
    }

    /// Blocks never overlap, an allocation fails only where no aligned run of units is free, and all joins again.
    @Test(arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64])
    func aModelAgrees(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let units = Int.random(in: 1...300, using: &random)
        let allocator = BuddyAllocator(size: units * 4096)
        let whole = allocator.largestFreeBlock
        var owner = [Int](repeating: -1, count: units)
        var blocks: [(offset: Int, units: Int)] = []
        for step in 0..<20_000 {
            if blocks.isEmpty || Bool.random(using: &random) {
                let bytes = Int.random(in: 1...(4096 << Int.random(in: 0...7, using: &random)), using: &random)
                var needed = 1
                while needed * 4096 < bytes { needed *= 2 }
                if let offset = allocator.allocate(bytes) {
                    let first = offset / 4096
                    #expect(first % needed == 0 && first + needed <= units, "seed \(seed), step \(step)")
                    for unit in first..<first + needed {
                        #expect(owner[unit] == -1, "seed \(seed), step \(step): unit \(unit) given twice")
                        owner[unit] = step
                    }
                    blocks.append((offset, needed))
                } else {
                    for first in stride(from: 0, to: units - needed + 1, by: needed) {
                        let isFree = owner[first..<first + needed].allSatisfy { $0 == -1 }
                        #expect(!isFree, "seed \(seed), step \(step): \(needed) units are free at \(first)")
                    }
                }
            } else {
                let block = blocks.remove(at: Int.random(in: 0..<blocks.count, using: &random))
                #expect(allocator.blockSize(at: block.offset) == block.units * 4096)
                allocator.free(block.offset)
                for unit in block.offset / 4096..<block.offset / 4096 + block.units { owner[unit] = -1 }
            }
            #expect(allocator.bytesInUse == blocks.reduce(0) { $0 + $1.units } * 4096)
        }
        for block in blocks { allocator.free(block.offset) }
        #expect(allocator.largestFreeBlock == whole)
    }

    @Test func freeingTwiceTraps() async {
        await #expect(processExitsWith: .failure) {
            let allocator = BuddyAllocator(size: 1 << 20)
            let offset = allocator.allocate(8192)!
            allocator.free(offset)
            allocator.free(offset)
        }
    }
}
