import Replication
import Testing

/// The mark on the media that says whether a volume has ever been written.
@Suite struct ContentsTests {
    /// Bits 2 and 3 of byte 43 of a superblock, which earlier releases leave zero: those volumes count as written.
    @Test func recordsFromBeforeTheMarkSayWritten() throws {
        let page = TestPage()
        var superblock = try testSuperblock()
        superblock.contents = .written
        superblock.encode(into: page.bytes)
        #expect(page.bytes[43] == 0)
        for (contents, byte) in [(VolumeContents.written, 0), (.blank, 1), (.beingFormatted, 2)]
            as [(VolumeContents, UInt8)]
        {
            superblock.contents = contents
            superblock.encode(into: page.bytes)
            #expect(page.bytes[43] == byte << 2)
            let empty = TestPage()
            let found = try Superblock.decode(
                member: 1, slot0: UnsafeRawBufferPointer(empty.bytes), slot1: UnsafeRawBufferPointer(page.bytes))
            #expect(found == superblock)
        }
    }

    @Test func aNewVolumeIsBlankUnlessItTakesOverData() throws {
        for (copies, expected) in [(false, VolumeContents.blank), (true, .written)] {
            let format = try VolumeFormat(volume: testVolume, members: candidates(), initialCopy: copies)
            let (page, empty) = (TestPage(), TestPage())
            _ = format.encode(page: format.pageCount - 1, member: 0, into: page.bytes)
            let found = try Superblock.decode(
                member: 0, slot0: UnsafeRawBufferPointer(empty.bytes), slot1: UnsafeRawBufferPointer(page.bytes))
            #expect(found.contents == expected)
        }
    }
}
