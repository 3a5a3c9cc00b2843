import Base
import BlockInterface
import Replication
import Testing

/// The mark that says whether a volume has ever been written.
@Suite struct ContentsTests {
    // MARK: On the media

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

    // MARK: While it is served

    /// The members whose newest record says that the volume is written.
    private func marked(_ scenario: Scenario) -> Int {
        scenario.targets.filter { scenario.simulation.superblock($0)?.contents == .written }.count
    }

    @Test func theFirstWriteMarksAndNothingElseDoes() {
        let scenario = Scenario(contents: .blank)
        #expect(scenario.attach())
        #expect(scenario.does(.read) == .success)
        #expect(scenario.does(.flush, 0, 0) == .success)
        #expect(scenario.does(.writeZeroes) == .success)
        #expect(scenario.does(.deallocate) == .success)
        #expect(scenario.initiator.engine.contents == .blank)
        #expect(marked(scenario) == 0)
        #expect(scenario.does(.write) == .success)
        #expect(scenario.initiator.engine.contents == .written)
        #expect(marked(scenario) >= 2)
        scenario.crashInitiator()
        #expect(scenario.attach())
        #expect(scenario.initiator.engine.contents == .written)
        #expect(scenario.ending() == nil)
    }

    /// The host dies after each step of the first write. Data is nowhere that two records do not tell of.
    @Test func dataNeverComesBeforeTheMark() {
        var crashes = 0
        for steps in 0..<200 {
            let scenario = Scenario(contents: .blank)
            #expect(scenario.attach())
            scenario.submit(.write)
            var isOver = false
            for _ in 0..<steps where !isOver {
                isOver = scenario.initiator.workload.running.isEmpty || !scenario.simulation.queue.step()
            }
            let isThere = scenario.targets.contains { target in
                (0..<4 * 512).contains { target.view.load(fromByteOffset: $0, as: UInt8.self) != 0 }
            }
            if isThere { #expect(marked(scenario) >= 2, "after \(steps) steps") }
            if isOver { break }
            crashes += 1
            scenario.crashInitiator()
            #expect(scenario.attach())
            if isThere { #expect(scenario.initiator.engine.contents == .written) }
            #expect(scenario.ending() == nil)
        }
        #expect(crashes > 5, "the first write takes several steps")
    }

    /// A member that was away when the volume was marked comes back, and another goes: the mark stays.
    @Test func anOldRecordDoesNotTakeTheMarkBack() {
        let scenario = Scenario(contents: .blank)
        #expect(scenario.attach())
        scenario.stop(2)
        #expect(scenario.reaches { scenario.status.members[2].phase != .active })
        #expect(scenario.does(.write) == .success)
        scenario.crashInitiator()
        scenario.targets[2].start()
        #expect(scenario.attach())
        #expect(scenario.initiator.engine.contents == .written)
        #expect(scenario.ending() == nil)
    }

    @Test func whoFormatsMarksItself() {
        let scenario = Scenario(contents: .blank)
        #expect(scenario.attach())
        let engine = { (contents: VolumeContents) -> Bool in
            let isTaken = scenario.initiator.engine.mark(contents, now: scenario.initiator.now)
            scenario.initiator.process()
            return isTaken
        }
        #expect(engine(.beingFormatted))
        #expect(scenario.reaches { scenario.initiator.engine.contents == .beingFormatted })
        #expect(scenario.initiator.notices.contains(.contentsMarked(.beingFormatted)))
        #expect(scenario.does(.write) == .success)
        #expect(scenario.initiator.engine.contents == .beingFormatted)
        scenario.crashInitiator()
        #expect(scenario.attach())
        #expect(scenario.initiator.engine.contents == .beingFormatted)
        #expect(engine(.written))
        #expect(scenario.reaches { scenario.initiator.engine.contents == .written })
        #expect(engine(.blank), "which is taken, and changes nothing")
        #expect(scenario.initiator.engine.contents == .written)
        #expect(scenario.ending() == nil)
    }
}
