import BlockInterface
import CChecksum
import Replication
import Simulation
import Testing
import VolumeDriver

@testable import VolumeSimulation

/// Members whose metadata is not what it should be: the attach fails, says which member and why, and writes nothing.
@Suite struct BadInputTests {
    /// Attaches to what `spoil` leaves, and returns the error.
    private func attachError(_ spoil: (Scenario) -> Void) -> AttachError? {
        let scenario = Scenario()
        spoil(scenario)
        scenario.world.silenced.insert(.metadataRefused)
        scenario.world.isFinished = true
        scenario.startInitiator()
        #expect(scenario.reaches { scenario.attachError != nil })
        for member in MemberSet.all {
            #expect(!scenario.hasUnflushed(member), "nothing was written")
            #expect(scenario.registrants(member).isEmpty, "nothing was reserved")
        }
        return scenario.attachError
    }

    /// A slot is damaged, the newer or the older: the other is believed, it is told, and both are intact afterwards.
    @Test(arguments: [false, true])
    func oneDamagedSuperblockSlotIsNoError(isNewer: Bool) {
        let scenario = Scenario()
        #expect(scenario.attach())
        #expect(scenario.does(.write) == .success)
        scenario.crashInitiator()
        let newest = scenario.newestSlot(of: 1)
        let damaged = isNewer ? newest : 1 - newest
        scenario.slot(1, damaged)[200] ^= 1
        #expect(scenario.attach())
        #expect(scenario.notices.contains(.recordDamaged(1, slot: damaged)))
        #expect(scenario.initiator.engine.statistics.recordsDamaged == 1)
        let page = UnsafeRawBufferPointer(scenario.slot(1, damaged))
        #expect((try? Superblock.decode(member: 1, slot0: page, slot1: page)) != nil, "it was written anew")
        #expect(scenario.does(.read) == .success)
        #expect(scenario.ending() == nil)
    }

    @Test func bothSuperblockSlotsCorrupt() {
        let error = attachError { scenario in
            for number in 0..<2 { scenario.slot(1, number)[number == 0 ? 100 : 4000] ^= 0xff }
        }
        #expect(error == .metadata(.bothSlotsCorrupt(member: 1)))
    }

    @Test func noSuperblock() {
        let error = attachError { scenario in
            for number in 0..<2 { scenario.slot(2, number).initializeMemory(as: UInt8.self, repeating: 0) }
        }
        #expect(error == .metadata(.notFormatted(member: 2)))
    }

    @Test func metadataOfANewerFormat() throws {
        let error = attachError { scenario in
            for number in 0..<2 where scenario.slot(0, number)[0] != 0 {
                let page = scenario.slot(0, number)
                page[8] = 2
                page.storeBytes(of: 0, toByteOffset: 12, as: UInt32.self)
                page.storeBytes(
                    of: tercet_crc32c(page.baseAddress, 4096).littleEndian, toByteOffset: 12, as: UInt32.self)
            }
        }
        #expect(error == .metadata(.newerFormat(member: 0, found: 2, supported: 1)))
    }

    @Test func membersInAnotherOrder() {
        let error = attachError { scenario in
            for view in MemberView.allCases {
                let (left, right) = (scenario.world.memory(0, view), scenario.world.memory(1, view))
                for byte in left.indices { swap(&left[byte], &right[byte]) }
            }
        }
        let isNamed =
            error == .metadata(.wrongMember(member: 0, found: 1))
            || error == .metadata(.wrongMember(member: 1, found: 0))
        #expect(isNamed, "\(String(describing: error))")
    }

    @Test func aMemberThatShrank() {
        let error = attachError { scenario in
            scenario.resize(1, toBlocks: 180)
        }
        #expect(error == .metadata(.shrunk(member: 1, found: 180, expected: 200)))
    }

    /// Numbers that are counted up, and could not be.
    @Test(arguments: ["sequence", "version"])
    func aRecordWithTheGreatestNumbers(field: String) {
        let error = attachError { scenario in
            forge(scenario, 0) { superblock in
                if field == "sequence" { superblock.sequence = .max } else { superblock.stamp.version = .max }
            }
        }
        #expect(error == .metadata(.invalidField(member: 0, field: field)))
    }

    /// Changes a member's superblock, in both slots.
    private func forge(_ scenario: Scenario, _ member: MemberIndex, _ change: (inout Superblock) -> Void) {
        guard var superblock = scenario.world.record(member) else {
            Issue.record("member \(member) has a superblock")
            return
        }
        change(&superblock)
        for number in 0...1 { superblock.encode(into: scenario.slot(member, number)) }
    }

    @Test func aVolumeThatItsMemberHasNoRoomFor() {
        let error = attachError { scenario in forge(scenario, 1) { $0.geometry.dataBlocks = 1 << 28 } }
        #expect(
            error
                == .metadata(
                    .beyondNamespace(member: 1, field: "number of data blocks", value: 1 << 28, limit: 160)))
    }

    @Test func theGreatestEpoch() {
        let error = attachError { scenario in forge(scenario, 2) { $0.stamp.attachmentKey = .max } }
        #expect(error == .epochExhausted(member: 2))
    }

    /// One member says that the volume is larger, and has room for it itself: nothing is allocated on its word.
    @Test func aVolumeThatOtherMembersHaveNoRoomFor() {
        let scenario = Scenario()
        scenario.resize(0, toBlocks: 1 << 16)
        scenario.world.silenced.insert(.metadataRefused)
        forge(scenario, 0) { superblock in
            superblock.geometry.dataBlocks = 60_000
            superblock.members[0].blocks = 1 << 16
            superblock.stamp.version = 7
        }
        scenario.world.isFinished = true
        scenario.startInitiator()
        #expect(
            scenario.reaches {
                scenario.notices.contains {
                    if case .memberRefused(1, .tooSmall(member: 1, found: 200, needed: _)) = $0 { true } else { false }
                }
            })
        #expect(!scenario.reaches { scenario.initiator.isServing })
        #expect(scenario.initiator.engine.geometry.dataBlocks < 60_000)
    }

    @Test func aTornBitmapPageMeansThatEverythingIsDirty() {
        let scenario = Scenario()
        #expect(scenario.attach())
        #expect(scenario.does(.write) == .success)
        scenario.crashInitiator()
        let page = scenario.world.layouts[1].pageBlock(ordinal: BitmapPage.inFlightOrdinal, page: 0)
        scenario.targets[1].disk.contents[Int(page) * 512 + 77] = 0x5A
        #expect(scenario.attach())
        #expect(scenario.reaches { scenario.status.unreconciledRegions == 0 && scenario.isInSync(1) })
        #expect(scenario.initiator.engine.statistics.regionsCopied >= 13)
        #expect(scenario.ending() == nil)
    }
}
