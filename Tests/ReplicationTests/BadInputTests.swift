import BlockInterface
import Glibc
import Replication
import Testing

/// Members whose metadata is not what it should be: the attach fails, says which member and why, and writes nothing.
@Suite struct BadInputTests {
    /// Attaches to what `spoil` leaves, and returns the error.
    private func attachError(_ spoil: (Scenario) -> Void) -> AttachError? {
        let scenario = Scenario()
        spoil(scenario)
        scenario.simulation.expectsAttachError = true
        scenario.simulation.isFinished = true
        scenario.simulation.startInitiator()
        #expect(scenario.reaches { scenario.initiator.attachError != nil })
        for target in scenario.targets {
            #expect(!target.isDirty.contains(true), "nothing was written")
            #expect(target.registrants.isEmpty, "nothing was reserved")
        }
        return scenario.initiator.attachError
    }

    /// A superblock slot of a member, as bytes.
    private func slot(_ scenario: Scenario, _ member: MemberIndex, _ number: Int) -> UnsafeMutableRawBufferPointer {
        let offset = Int(scenario.simulation.layouts[member].slotBlock(number)) * ModelTarget.blockSize
        return UnsafeMutableRawBufferPointer(start: scenario.targets[member].view + offset, count: 4096)
    }

    /// A slot is damaged, the newer or the older: the other is believed, it is told, and both are intact afterwards.
    @Test(arguments: [false, true])
    func oneDamagedSuperblockSlotIsNoError(isNewer: Bool) {
        let scenario = Scenario()
        #expect(scenario.attach())
        #expect(scenario.does(.write) == .success)
        scenario.crashInitiator()
        let sequences = (0..<2).map { slot(scenario, 1, $0).load(fromByteOffset: 16, as: UInt64.self) }
        let damaged = (sequences[0] > sequences[1]) == isNewer ? 0 : 1
        slot(scenario, 1, damaged)[200] ^= 1
        #expect(scenario.attach())
        #expect(scenario.initiator.notices.contains(.recordDamaged(1, slot: damaged)))
        #expect(scenario.initiator.engine.statistics.recordsDamaged == 1)
        let page = UnsafeRawBufferPointer(slot(scenario, 1, damaged))
        #expect((try? Superblock.decode(member: 1, slot0: page, slot1: page)) != nil, "it was written anew")
        #expect(scenario.does(.read) == .success)
        #expect(scenario.ending() == nil)
    }

    @Test func bothSuperblockSlotsCorrupt() {
        let error = attachError { scenario in
            for number in 0..<2 { slot(scenario, 1, number)[number == 0 ? 100 : 4000] ^= 0xff }
        }
        #expect(error == .metadata(.bothSlotsCorrupt(member: 1)))
    }

    @Test func noSuperblock() {
        let error = attachError { scenario in
            for number in 0..<2 { slot(scenario, 2, number).initializeMemory(as: UInt8.self, repeating: 0) }
        }
        #expect(error == .metadata(.notFormatted(member: 2)))
    }

    @Test func metadataOfANewerFormat() throws {
        let error = attachError { scenario in
            for number in 0..<2 where slot(scenario, 0, number)[0] != 0 {
                slot(scenario, 0, number)[8] = 2
                reseal(slot(scenario, 0, number))
            }
        }
        #expect(error == .metadata(.newerFormat(member: 0, found: 2, supported: 1)))
    }

    @Test func membersInAnotherOrder() {
        let error = attachError { scenario in
            let (a, b) = (scenario.targets[0], scenario.targets[1])
            for (left, right) in [(a.view, b.view), (a.durable, b.durable)] {
                for byte in 0..<a.blocks * ModelTarget.blockSize {
                    let kept = left.load(fromByteOffset: byte, as: UInt8.self)
                    left.storeBytes(
                        of: right.load(fromByteOffset: byte, as: UInt8.self), toByteOffset: byte, as: UInt8.self)
                    right.storeBytes(of: kept, toByteOffset: byte, as: UInt8.self)
                }
            }
        }
        let isNamed =
            error == .metadata(.wrongMember(member: 0, found: 1))
            || error == .metadata(.wrongMember(member: 1, found: 0))
        #expect(isNamed, "\(String(describing: error))")
    }

    @Test func aMemberThatShrank() {
        let error = attachError { scenario in
            scenario.simulation.formattedBlocks = [200, 200, 200]
            scenario.targets[1].resize(180)
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
        let target = scenario.targets[member]
        guard var superblock = scenario.simulation.superblock(target) else {
            Issue.record("member \(member) has a superblock")
            return
        }
        change(&superblock)
        let page = TestPage()
        superblock.encode(into: page.bytes)
        for slot in 0...1 {
            let block = MemberLayout.slotBlock(slot, memberBlocks: UInt64(target.blocks), blockSize: 512) ?? 0
            (target.view + Int(block) * ModelTarget.blockSize)
                .copyMemory(from: page.bytes.baseAddress!, byteCount: 4096)
        }
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
        scenario.targets[0].resize(1 << 16)
        forge(scenario, 0) { superblock in
            superblock.geometry.dataBlocks = 60_000
            superblock.members[0].blocks = 1 << 16
            superblock.stamp.version = 7
        }
        scenario.simulation.isFinished = true
        scenario.simulation.startInitiator()
        #expect(
            scenario.reaches {
                scenario.initiator.notices.contains {
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
        let layout = scenario.simulation.layouts[1]
        let offset = Int(layout.pageBlock(ordinal: BitmapPage.inFlightOrdinal, page: 0)) * ModelTarget.blockSize
        scenario.targets[1].view.storeBytes(of: 0x5a, toByteOffset: offset + 77, as: UInt8.self)
        #expect(scenario.attach())
        #expect(scenario.reaches { scenario.status.unreconciledRegions == 0 && scenario.isInSync(1) })
        #expect(scenario.initiator.engine.statistics.regionsCopied >= 13)
        #expect(scenario.ending() == nil)
    }
}
