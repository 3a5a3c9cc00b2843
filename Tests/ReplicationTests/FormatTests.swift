import Base
import Replication
import Testing

func candidates(blocks: [UInt64] = [10000, 10000, 10000], blockSizes: [UInt32] = [512, 512, 512]) -> [MemberCandidate] {
    (0..<3).map {
        MemberCandidate(uuid: UUIDBytes(high: 1, low: UInt64($0)), blockSize: blockSizes[$0], blocks: blocks[$0])
    }
}

@Suite struct FormatTests {
    @Test func differentSizesAreRefusedUnlessASizeIsNamed() throws {
        let members = candidates(blocks: [10000, 10000, 12000])
        #expect(throws: MetadataError.differentSize(member: 2, found: 12000, expected: 10000)) {
            try VolumeFormat(volume: testVolume, members: members)
        }
        let format = try VolumeFormat(volume: testVolume, members: members, dataBlocks: 8192)
        #expect(format.geometry.dataBlocks == 8192)
        #expect(format.layouts[2].slotBlock(1) == 12000 - 8)
    }

    /// Memory is allocated for each region, also where a namespace only says that it is so large.
    @Test func thereIsAGreatestNumberOfRegions() throws {
        let greatest = VolumeGeometry.maximumRegionCount
        let largest = try VolumeGeometry(blockSize: 512, regionSize: 4096, dataBlocks: greatest * 8)
        #expect(largest.regionCount == 1 << 27)
        #expect(throws: MetadataError.self) {
            try VolumeGeometry(blockSize: 512, regionSize: 4096, dataBlocks: greatest * 8 + 1)
        }
        _ = try VolumeGeometry(blockSize: 512, regionSize: 8192, dataBlocks: greatest * 8 + 1)
    }

    @Test func badMembersAreRefused() throws {
        #expect(throws: MetadataError.wrongBlockSize(member: 1, found: 4096, expected: 512)) {
            try VolumeFormat(volume: testVolume, members: candidates(blockSizes: [512, 4096, 512]))
        }
        var twice = candidates()
        twice[2].uuid = twice[0].uuid
        #expect(throws: MetadataError.sameNamespace(member: 2, other: 0)) {
            try VolumeFormat(volume: testVolume, members: twice)
        }
        var held = candidates()
        held[1].heldVolume = testVolume
        #expect(throws: MetadataError.holdsVolume(member: 1, volume: testVolume)) {
            try VolumeFormat(volume: testVolume, members: held)
        }
        _ = try VolumeFormat(volume: testVolume, members: held, overwrite: true)
        #expect(throws: MetadataError.tooSmall(member: 0, found: 10000, needed: 20040)) {
            try VolumeFormat(volume: testVolume, members: candidates(), dataBlocks: 20000)
        }
        #expect(throws: MetadataError.self) {
            try VolumeFormat(volume: testVolume, members: candidates(blocks: [9, 9, 9]))
        }
        #expect(throws: MetadataError.self) {
            try VolumeFormat(volume: testVolume, members: candidates(), minimumCopies: 4)
        }
    }

    @Test(arguments: [false, true])
    func formattedMembersDecode(initialCopy: Bool) throws {
        let format = try VolumeFormat(
            volume: testVolume, members: candidates(), regionSize: 4096, initialCopy: initialCopy)
        let page = TestPage()
        var slots = [TestPage(), TestPage()]
        slots.removeAll()
        var bits = 0
        for number in 0..<format.pageCount {
            let block = format.encode(page: number, member: 2, into: page.bytes)
            if number < 3 * format.geometry.pagesPerMap {
                let ordinal = number / format.geometry.pagesPerMap
                #expect(block == format.layouts[2].pageBlock(ordinal: ordinal, page: 0))
                let kind = [0, 1, 3][ordinal]
                #expect(BitmapPage.isIntact(page.bytes, volume: testVolume, kind: kind, number: 0))
                bits += page.bytes[32...].reduce(0) { $0 + $1.nonzeroBitCount }
            } else {
                let copy = TestPage()
                copy.bytes.copyMemory(from: page.raw)
                slots.append(copy)
            }
        }
        #expect(bits == (initialCopy ? format.geometry.regionCount : 0))
        let found = try Superblock.decode(member: 2, slot0: slots[0].raw, slot1: slots[1].raw)
        try found.validate(as: 2, volume: testVolume, blockSize: 512, memberBlocks: 10000)
        #expect(found.inSync == .all)
        #expect(found.isClean == !initialCopy)
    }
}
