import Base
import CChecksum
import Glibc
import Replication
import Testing

/// A page of memory that stays until the test run ends: pointers into it outlive the last use of the value.
struct TestPage {
    let bytes: UnsafeMutableRawBufferPointer
    init(_ count: Int = 4096) {
        bytes = .allocate(byteCount: count, alignment: 4096)
        bytes.initializeMemory(as: UInt8.self, repeating: 0)
    }
    var raw: UnsafeRawBufferPointer { UnsafeRawBufferPointer(bytes) }
}

let testVolume = UUIDBytes("6ba7b810-9dad-11d1-80b4-00c04fd430c8")!

func testSuperblock(sequence: UInt64 = 7, stampVersion: UInt64 = 3) throws -> Superblock {
    Superblock(
        sequence: sequence, volume: testVolume, member: 1,
        geometry: try VolumeGeometry(blockSize: 512, dataBlocks: 1 << 20), fencing: .reservations, minimumCopies: 2,
        isClean: false, stamp: RecordStamp(attachmentKey: 5 << 32 | 0xabcd, version: stampVersion),
        members: [
            MemberRecord(uuid: UUIDBytes(high: 1, low: 2), blocks: 1 << 21, bootInstance: 11),
            MemberRecord(uuid: UUIDBytes(high: 3, low: 4), blocks: 1 << 21, bootInstance: 12),
            MemberRecord(
                uuid: UUIDBytes(high: 5, low: 6), blocks: 1 << 21, bootInstance: 13, state: .behind, behindSinceEpoch: 4
            ),
        ])
}

@Suite struct LayoutTests {
    @Test func checksumIsCRC32C() {
        // RFC 3720 appendix B.4, and the usual check value.
        let zeroes = [UInt8](repeating: 0, count: 32)
        #expect(tercet_crc32c(zeroes, 32) == 0x8a91_36aa)
        #expect(tercet_crc32c([UInt8](repeating: 0xff, count: 32), 32) == 0x62a8_ab43)
        #expect(tercet_crc32c(Array("123456789".utf8), 9) == 0xe306_9283)
        let long = (0..<1000).map { UInt8($0 & 255) }
        #expect(~tercet_crc32c_bitwise(0xffff_ffff, long, 1000) == tercet_crc32c(long, 1000))
    }

    @Test func uuidText() {
        #expect(testVolume.description == "6ba7b810-9dad-11d1-80b4-00c04fd430c8")
        #expect(UUIDBytes("6BA7B810-9DAD-11D1-80B4-00C04FD430C8") == testVolume)
        for bad in [
            "", "6ba7b810", "6ba7b810-9dad-11d1-80b4-00c04fd430c", "6ba7b810-9dad-11d1-80b4-00c04fd430cg", "----",
        ] {
            #expect(UUIDBytes(bad) == nil)
        }
    }

    @Test func metadataIsAtTheEndAndDataAtBlockZero() throws {
        // 1 TiB of 4 KiB blocks in 1 MiB regions: 2^20 regions, 32512 to a page, 33 pages a map.
        let geometry = try VolumeGeometry(blockSize: 4096, dataBlocks: 1 << 28)
        #expect(geometry.regionCount == 1 << 20)
        #expect(geometry.pagesPerMap == 33)
        let layout = try MemberLayout(member: 0, memberBlocks: (1 << 28) + 101, geometry: geometry)
        #expect(layout.slotBlock(1) == (1 << 28) + 100)
        #expect(layout.slotBlock(0) == (1 << 28) + 99)
        #expect(layout.mapsStart == 1 << 28)
        #expect(layout.pageBlock(ordinal: 2, page: 32) == layout.slotBlock(0) - 1)
        #expect(throws: MetadataError.tooSmall(member: 2, found: (1 << 28) + 100, needed: (1 << 28) + 101)) {
            try MemberLayout(member: 2, memberBlocks: (1 << 28) + 100, geometry: geometry)
        }
    }

    @Test func slotsAreFoundFromTheSizeAlone() throws {
        for blocks: UInt64 in [4096, 4097, 4103, 4104] {
            let geometry = try VolumeGeometry(blockSize: 512, regionSize: 4096, dataBlocks: 1024)
            let layout = try MemberLayout(member: 0, memberBlocks: blocks, geometry: geometry)
            for slot in 0...1 {
                let found = MemberLayout.slotBlock(slot, memberBlocks: blocks, blockSize: 512)
                #expect(found == layout.slotBlock(slot))
                #expect(layout.slotBlock(slot) % 8 == 0)
                #expect(layout.slotBlock(slot) + 8 <= blocks)
            }
        }
        #expect(MemberLayout.slotBlock(0, memberBlocks: 15, blockSize: 512) == nil)
    }

    @Test(arguments: [(512, 1 << 20), (4096, 1 << 20), (65536, 1 << 20), (512, 4096)])
    func largestVolumeFits(blockSize: UInt32, regionSize: UInt32) throws {
        let blocks: UInt64 = (64 << 20) / UInt64(blockSize)
        let largest = try #require(
            MemberLayout.largestVolume(memberBlocks: blocks, blockSize: blockSize, regionSize: regionSize))
        let geometry = try VolumeGeometry(blockSize: blockSize, regionSize: regionSize, dataBlocks: largest)
        let layout = try MemberLayout(member: 0, memberBlocks: blocks, geometry: geometry)
        #expect(layout.mapsStart >= largest)
    }

    /// The smallest member that a volume fits, for sizes around those at which its maps take another page.
    @Test(arguments: [(512, 4096), (4096, 4096), (4096, 1 << 20), (65536, 1 << 20)] as [(UInt32, UInt32)])
    func theSmallestMemberOfAVolume(blockSize: UInt32, regionSize: UInt32) throws {
        func largest(_ members: UInt64) -> UInt64 {
            MemberLayout.largestVolume(memberBlocks: members, blockSize: blockSize, regionSize: regionSize) ?? 0
        }
        let regions = UInt64((max(4096, blockSize) - 32) * 8)
        let perRegion = UInt64(regionSize / blockSize)
        for blocks in [
            1, 2, perRegion, (regions - 4) * perRegion, regions * perRegion, regions * perRegion + 1, 1 << 26,
        ] {
            let members = try #require(
                MemberLayout.memberBlocks(forVolume: blocks, blockSize: blockSize, regionSize: regionSize))
            let page = UInt64(max(4096, blockSize) / blockSize)
            #expect(largest(members) >= blocks && members % page == 0)
            #expect(largest(members - page) < blocks, "\(blocks) blocks")
        }
        #expect(MemberLayout.memberBlocks(forVolume: .max, blockSize: blockSize, regionSize: regionSize) == nil)
    }

    @Test func impossibleGeometriesAreRefused() {
        for (block, region, blocks) in [
            (0, 1 << 20, 10), (513, 1 << 20, 10), (256, 1 << 20, 10), (1 << 17, 1 << 20, 10), (512, 0, 10),
            (512, 5000, 10),
            (512, 1 << 31, 10), (4096, 2048, 10), (512, 1 << 20, 0),
        ] as [(UInt32, UInt32, UInt64)] {
            #expect(throws: MetadataError.self) {
                try VolumeGeometry(blockSize: block, regionSize: region, dataBlocks: blocks)
            }
        }
        #expect(throws: MetadataError.self) {
            try VolumeGeometry(blockSize: 512, regionSize: 4096, dataBlocks: .max)
        }
    }

    @Test func superblockGoldenBytes() throws {
        let page = TestPage()
        try testSuperblock().encode(into: page.bytes)
        #expect(Array(page.bytes[0..<12]) == Array("TERCETSB".utf8) + [1, 0, 0, 0])
        #expect(Array(page.bytes[16..<24]) == [7, 0, 0, 0, 0, 0, 0, 0])
        #expect(Array(page.bytes[24..<40]).starts(with: [0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad]))
        #expect(Array(page.bytes[40..<44]) == [1, 0, 2, 0])
        #expect(Array(page.bytes[44..<48]) == [0, 2, 0, 0])
        #expect(Array(page.bytes[64..<72]) == [0xcd, 0xab, 0, 0, 5, 0, 0, 0])
        #expect(page.bytes[88 + 128 + 40] == 1)
        #expect(page.bytes[280..<4096].allSatisfy { $0 == 0 })
        var differing = try testSuperblock()
        differing.quarantine = [3, 0x1ff]
        differing.encode(into: page.bytes)
        #expect(Array(page.bytes[280..<296]) == [2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0xff, 1, 0, 0])
        #expect(try Superblock.decode(member: 1, slot0: page.raw, slot1: page.raw) == differing)
    }

    @Test func quarantinedRegionsFillTheSuperblockAndNoMore() throws {
        let page = TestPage()
        var superblock = try testSuperblock()
        let capacity = superblock.geometry.quarantineCapacity
        #expect(capacity == 952)
        superblock.geometry.dataBlocks *= 2
        superblock.quarantine = (0..<capacity).map { RegionIndex($0 + 7) }
        superblock.encode(into: page.bytes)
        #expect(try Superblock.decode(member: 1, slot0: page.raw, slot1: page.raw) == superblock)
        page.bytes.storeBytes(of: UInt32(capacity + 1).littleEndian, toByteOffset: 280, as: UInt32.self)
        reseal(page.bytes)
        #expect(throws: MetadataError.invalidField(member: 1, field: "number of quarantined regions")) {
            try Superblock.decode(member: 1, slot0: page.raw, slot1: page.raw)
        }
        page.bytes.storeBytes(of: UInt32(1).littleEndian, toByteOffset: 280, as: UInt32.self)
        page.bytes.storeBytes(
            of: UInt32(superblock.geometry.regionCount).littleEndian, toByteOffset: 288, as: UInt32.self)
        reseal(page.bytes)
        #expect(throws: MetadataError.invalidField(member: 1, field: "list of quarantined regions")) {
            try Superblock.decode(member: 1, slot0: page.raw, slot1: page.raw)
        }
    }

    @Test func superblockRoundTrip() throws {
        let older = TestPage()
        let newer = TestPage()
        try testSuperblock(sequence: 6, stampVersion: 2).encode(into: older.bytes)
        try testSuperblock(sequence: 7).encode(into: newer.bytes)
        let expected = try testSuperblock()
        #expect(try Superblock.decode(member: 1, slot0: older.raw, slot1: newer.raw) == expected)
        #expect(try Superblock.decode(member: 1, slot0: newer.raw, slot1: older.raw) == expected)
        #expect(expected.inSync == [0, 1])
        #expect(expected.stamp.epoch == 5)
    }

    @Test func tornSlotLeavesTheOther() throws {
        let older = TestPage()
        let torn = TestPage()
        try testSuperblock(sequence: 6, stampVersion: 2).encode(into: older.bytes)
        // Each byte of the used part, damaged, is noticed: only the older slot counts then.
        for offset in stride(from: 0, to: 280, by: 1) {
            try testSuperblock().encode(into: torn.bytes)
            torn.bytes[offset] ^= 0x40
            let found = try Superblock.decode(member: 1, slot0: older.raw, slot1: torn.raw)
            #expect(found.sequence == 6, "offset \(offset)")
        }
    }

    @Test func bothSlotsBad() throws {
        let bad = TestPage()
        try testSuperblock().encode(into: bad.bytes)
        bad.bytes[100] ^= 1
        #expect(throws: MetadataError.bothSlotsCorrupt(member: 2)) {
            try Superblock.decode(member: 2, slot0: bad.raw, slot1: bad.raw)
        }
        #expect(throws: MetadataError.notFormatted(member: 0)) {
            try Superblock.decode(member: 0, slot0: TestPage().raw, slot1: TestPage().raw)
        }
        #expect(throws: MetadataError.bothSlotsCorrupt(member: 0)) {
            try Superblock.decode(member: 0, slot0: bad.raw, slot1: TestPage().raw)
        }
    }

    @Test func newerFormatIsRefused() throws {
        let good = TestPage()
        let newer = TestPage()
        try testSuperblock().encode(into: good.bytes)
        try testSuperblock().encode(into: newer.bytes)
        newer.bytes[8] = 2
        reseal(newer.bytes)
        #expect(throws: MetadataError.newerFormat(member: 1, found: 2, supported: 1)) {
            try Superblock.decode(member: 1, slot0: good.raw, slot1: newer.raw)
        }
    }

    @Test(arguments: [
        (40, "member index"), (41, "fencing mode"), (42, "minimum of copies"), (128, "member state"),
        (45, "geometry (block size 19712 is not a power of two from 512 to 65536)"),
    ])
    func impossibleFieldsAreNamed(offset: Int, field: String) throws {
        let page = TestPage()
        try testSuperblock().encode(into: page.bytes)
        page.bytes[offset] = 77
        reseal(page.bytes)
        #expect(throws: MetadataError.invalidField(member: 1, field: field)) {
            try Superblock.decode(member: 1, slot0: page.raw, slot1: page.raw)
        }
    }

    @Test func wrongPlaceIsNamed() throws {
        let superblock = try testSuperblock()
        let other = UUIDBytes(high: 9, low: 9)
        #expect(throws: MetadataError.wrongVolume(member: 1, found: testVolume, expected: other)) {
            try superblock.validate(as: 1, volume: other, blockSize: 512, memberBlocks: 1 << 21)
        }
        #expect(throws: MetadataError.wrongMember(member: 0, found: 1)) {
            try superblock.validate(as: 0, volume: testVolume, blockSize: 512, memberBlocks: 1 << 21)
        }
        #expect(throws: MetadataError.wrongBlockSize(member: 1, found: 4096, expected: 512)) {
            try superblock.validate(as: 1, volume: testVolume, blockSize: 4096, memberBlocks: 1 << 21)
        }
        #expect(throws: MetadataError.shrunk(member: 1, found: 1 << 20, expected: 1 << 21)) {
            try superblock.validate(as: 1, volume: testVolume, blockSize: 512, memberBlocks: 1 << 20)
        }
        try superblock.validate(as: 1, volume: testVolume, blockSize: 512, memberBlocks: 1 << 21)
        #expect(MetadataError.shrunk(member: 1, found: 5, expected: 9).description.contains("member 1"))
    }

    @Test func bitmapPageKnowsWhatItIs() throws {
        let page = TestPage()
        page.bytes[100] = 0x81
        BitmapPage.seal(page.bytes, volume: testVolume, sequence: 4, kind: 2, number: 5)
        #expect(Array(page.bytes[0..<4]) == Array("TBMP".utf8))
        #expect(BitmapPage.isIntact(page.bytes, volume: testVolume, kind: 2, number: 5))
        #expect(
            BitmapPage.isIntact(page.bytes, volume: testVolume, kind: 2, number: 5), "checking leaves it as it was")
        #expect(!BitmapPage.isIntact(page.bytes, volume: UUIDBytes(), kind: 2, number: 5))
        #expect(!BitmapPage.isIntact(page.bytes, volume: testVolume, kind: 1, number: 5))
        #expect(!BitmapPage.isIntact(page.bytes, volume: testVolume, kind: 2, number: 4))
        for offset in 0..<4096 {
            page.bytes[offset] ^= 2
            #expect(!BitmapPage.isIntact(page.bytes, volume: testVolume, kind: 2, number: 5), "offset \(offset)")
            page.bytes[offset] ^= 2
        }
    }

    /// Of this run; `TERCET_FUZZ_SEED` repeats one.
    static let seed = getenv("TERCET_FUZZ_SEED").flatMap { UInt64(String(cString: $0)) } ?? .random(in: 0...UInt64.max)

    /// In a process of its own, which a decoder that traps ends.
    @Test func randomBytesNeverTrap() async {
        await #expect(processExitsWith: .success, "repeat with TERCET_FUZZ_SEED=\(LayoutTests.seed)") {
            [seed = LayoutTests.seed as UInt64] in
            var random = SeededRandom(seed: seed)
            let a = TestPage()
            let b = TestPage()
            for _ in 0..<2000 {
                for page in [a, b] {
                    for offset in 0..<512 { page.bytes[offset] = UInt8(truncatingIfNeeded: random.next()) }
                }
                if random.next() & 1 == 0 {
                    a.bytes.copyBytes(from: Array("TERCETSB".utf8) + [1, 0, 0, 0])
                    reseal(a.bytes)
                }
                // A superblock that is accepted can be checked against any member.
                if let superblock = try? Superblock.decode(member: 0, slot0: a.raw, slot1: b.raw) {
                    try? superblock.validate(
                        as: 0, volume: superblock.volume, blockSize: UInt32(truncatingIfNeeded: random.next()),
                        memberBlocks: random.next())
                }
            }
        }
    }
}

func reseal(_ page: UnsafeMutableRawBufferPointer) {
    page.storeBytes(of: 0, toByteOffset: 12, as: UInt32.self)
    page.storeBytes(of: tercet_crc32c(page.baseAddress, 4096).littleEndian, toByteOffset: 12, as: UInt32.self)
}
