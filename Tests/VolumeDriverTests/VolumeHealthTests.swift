import Base
import Replication
import Testing

@testable import VolumeDriver

/// The words for a volume to its operator, by what its members hold.
@Suite struct VolumeHealthTests {
    /// A change of what one member holds, of a volume that is well otherwise; the grade, and what is told.
    struct Case: CustomTestStringConvertible {
        let testDescription: String
        let grade: VolumeHealth.Grade
        let problems: [String]
        let change: @Sendable (inout [MemberSurvey]) throws -> Void

        init(
            _ name: String, _ grade: VolumeHealth.Grade, _ problems: [String],
            _ change: @escaping @Sendable (inout [MemberSurvey]) throws -> Void
        ) {
            (testDescription, self.grade, self.problems, self.change) = (name, grade, problems, change)
        }
    }

    private static let addresses = (0..<3).compactMap {
        MemberAddress("192.0.2.\($0 + 1):4420/nqn.2026-11.io.tercet:m/1")
    }
    private static let volume = UUIDBytes(high: 0x1111_2222_3333_4444, low: 0x5555_6666_7777_8888)
    private static let another = UUIDBytes(high: 0xaaaa_bbbb_cccc_dddd, low: 0xeeee_ffff_0000_1111)

    /// The record of a volume, as a member has it.
    private static func record(
        _ member: Int, of volume: UUIDBytes = volume, version: UInt64 = 3
    ) throws -> Superblock {
        Superblock(
            sequence: 7, volume: volume, member: MemberIndex(member),
            geometry: try VolumeGeometry(blockSize: 4096, regionSize: 1 << 20, dataBlocks: 65536), isClean: false,
            stamp: RecordStamp(attachmentKey: 5 << 32 | 1, version: version),
            members: (0..<3).map { MemberRecord(uuid: UUIDBytes(high: 9, low: UInt64($0)), blocks: 70000) })
    }

    private static func survey(_ record: Superblock, isBlank: Bool = false, damagedSlot: Int? = nil) -> MemberSurvey {
        MemberSurvey(superblock: .success(record), isBlank: isBlank, damagedSlot: damagedSlot, presentHosts: [])
    }

    private static func away(isBlank: Bool = false) -> MemberSurvey {
        MemberSurvey(superblock: .failure(TercetError(.unavailable, "away")), isBlank: isBlank, presentHosts: [])
    }

    static let cases = [
        Case("all is well", .healthy, []) { _ in },
        Case("one is away", .degraded, ["member 1 cannot be used"]) { $0[1] = away() },
        Case("two are away", .unavailable, ["member 0 cannot be used", "member 2 cannot be used"]) {
            ($0[0], $0[2]) = (away(), away())
        },
        Case("one is behind, as a newer record says", .degraded, ["member 2 is behind"]) { surveys in
            for place in 0..<2 {
                var newer = try record(place, version: 4)
                newer.members[2].state = .behind
                surveys[place] = survey(newer)
            }
        },
        Case("a slot is damaged", .degraded, ["member 0: slot 1 of its record is damaged"]) {
            $0[0] = survey(try record(0), damagedSlot: 1)
        },
        Case(
            "one is of another volume", .degraded,
            ["member 1 belongs to volume \(another), not to \(volume)"]
        ) { $0[1] = survey(try record(1, of: another, version: 2)) },
        Case(
            "two are given in each other's place", .unavailable,
            [
                "member 0 is member 1 of the volume: give the members in their order",
                "member 1 is member 0 of the volume: give the members in their order",
            ]
        ) { $0.swapAt(0, 1) },
        Case(
            "the address is that of a namespace before its replacement", .degraded,
            ["member 2 was replaced by another namespace: give that one's address"]
        ) { surveys in
            for place in 0..<2 {
                var newer = try record(place, version: 4)
                newer.members[2].uuid = UUIDBytes(high: 9, low: 77)
                surveys[place] = survey(newer)
            }
        },
        Case("members differ in regions", .degraded, ["members differ in regions 4, 9"]) { surveys in
            for place in 0..<3 {
                var differing = try record(place, version: 4)
                differing.quarantine = [RegionIndex(position: 4), RegionIndex(position: 9)]
                surveys[place] = survey(differing)
            }
        },
    ]

    @Test(arguments: cases) func isToldInWords(_ wanted: Case) throws {
        var surveys = try (0..<3).map { Self.survey(try Self.record($0)) }
        try wanted.change(&surveys)
        let health = VolumeHealth(Self.addresses, surveys)
        #expect(health.grade == wanted.grade)
        #expect(health.problems == wanted.problems)
    }
}
