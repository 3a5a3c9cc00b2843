import BlockInterface
import Replication
import Testing

@testable import VolumeSimulation

/// The mark that says whether a volume has ever been written, while it is served.
@Suite struct ContentsMarkTests {
    /// The members whose newest record says that the volume is written.
    private func marked(_ scenario: Scenario) -> Int {
        MemberSet.all.filter { scenario.world.record($0)?.contents == .written }.count
    }

    @Test func theFirstWriteMarksAndNothingElseDoes() {
        let scenario = Scenario { $0.beginsBlank = true }
        #expect(scenario.attach())
        #expect(scenario.does(.read) == .success)
        #expect(scenario.does(.flush) == .success)
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

    /// The host dies at some moment of the first write, every 2 microseconds. Data is nowhere that two records do not tell of.
    @Test func dataNeverComesBeforeTheMark() {
        var crashes = 0
        for steps in 0..<200 {
            let scenario = Scenario { $0.beginsBlank = true }
            #expect(scenario.attach())
            scenario.submit(.write)
            scenario.wait(microseconds: UInt64(steps) * 2)
            let isOver = !scenario.hasUnfinished
            let isThere = MemberSet.all.contains { member in
                scenario.world.memory(member, .cached).prefix(4 * 512).contains { $0 != 0 }
            }
            if isThere { #expect(marked(scenario) >= 2, "after \(2 * steps) microseconds") }
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
        let scenario = Scenario { $0.beginsBlank = true }
        #expect(scenario.attach())
        scenario.stop(2)
        #expect(scenario.reaches { scenario.status.members[2].phase != .active })
        #expect(scenario.does(.write) == .success)
        scenario.crashInitiator()
        scenario.start(2)
        #expect(scenario.attach())
        #expect(scenario.initiator.engine.contents == .written)
        #expect(scenario.ending() == nil)
    }

    @Test func whoFormatsMarksItself() {
        let scenario = Scenario { $0.beginsBlank = true }
        #expect(scenario.attach())
        func mark(_ contents: VolumeContents) -> Bool {
            scenario.initiator.engine.mark(contents, now: scenario.initiator.now)
        }
        #expect(mark(.beingFormatted))
        #expect(scenario.reaches { scenario.initiator.engine.contents == .beingFormatted })
        #expect(scenario.notices.contains(.contentsMarked(.beingFormatted)))
        #expect(scenario.does(.write) == .success)
        #expect(scenario.initiator.engine.contents == .beingFormatted)
        scenario.crashInitiator()
        #expect(scenario.attach())
        #expect(scenario.initiator.engine.contents == .beingFormatted)
        #expect(mark(.written))
        #expect(scenario.reaches { scenario.initiator.engine.contents == .written })
        #expect(mark(.blank), "which is taken, and changes nothing")
        #expect(scenario.initiator.engine.contents == .written)
        #expect(scenario.ending() == nil)
    }
}
