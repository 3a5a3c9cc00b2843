import Testing

@testable import VolumeRegistry

/// The choice of pools for a volume's members.
@Suite struct PoolChoiceTests {
    private static func offer(
        _ name: String, _ domain: String, _ unallocated: UInt64, blockSize: UInt32 = 4096
    ) -> PoolOffer { PoolOffer(name: name, domain: domain, unallocated: unallocated, blockSize: blockSize) }

    private func names(_ offers: [PoolOffer], _ spread: PoolSpread, _ bytes: UInt64) -> [String]? {
        PoolChoice(offers, spread).pools { _ in bytes }?.map(\.name)
    }

    @Test func poolsWithTheMostRoomInThreeDomains() {
        let offers = [
            Self.offer("a", "1", 10), Self.offer("b", "1", 90), Self.offer("c", "2", 20), Self.offer("d", "3", 30),
            Self.offer("e", "4", 30),
        ]
        #expect(names(offers, .required, 10) == ["b", "d", "e"])
        #expect(names(offers, .preferred, 10) == ["b", "d", "e"], "domains that there are are used")
        #expect(names(offers, .required, 30) == ["b", "d", "e"])
        #expect(names(offers, .required, 31) == nil)
        #expect(names([], .preferred, 0) == nil)
    }

    @Test func preferredDomainsComeFirst() {
        let offers = [
            Self.offer("a", "1", 10), Self.offer("b", "1", 90), Self.offer("c", "2", 20), Self.offer("d", "3", 30),
            Self.offer("e", "4", 40),
        ]
        func names(_ domains: [String], _ bytes: UInt64) -> [String]? {
            PoolChoice(offers, .required, preferring: domains).pools { _ in bytes }?.map(\.name)
        }
        #expect(names(["2", "1"], 10) == ["c", "b", "e"])
        #expect(names(["2"], 25) == ["b", "e", "d"], "one without room is no choice")
        #expect(names(["nowhere"], 10) == ["b", "e", "d"])
    }

    @Test func aDomainHoldsTwoMembersOnlyWhereItMay() {
        let offers = [Self.offer("a", "1", 50), Self.offer("b", "1", 40), Self.offer("c", "2", 20)]
        #expect(names(offers, .required, 10) == nil)
        #expect(names(offers, .preferred, 10) == ["a", "c", "b"])
        #expect(names(Array(offers.prefix(2)), .preferred, 10) == nil, "a pool never does")
    }

    @Test func membersHaveBlocksOfOneSize() {
        let offers = [
            Self.offer("a", "1", 50), Self.offer("b", "2", 50, blockSize: 512), Self.offer("c", "3", 50),
            Self.offer("d", "4", 20), Self.offer("e", "5", 60, blockSize: 512),
        ]
        #expect(names(offers, .required, 10) == ["a", "c", "d"])
        #expect(PoolChoice(offers, .required).pools { $0 == 512 ? 10 : nil } == nil)
    }

    @Test(
        arguments: [
            ([10, 10, 10], 10), ([100, 10, 10], 10), ([30, 30, 30, 30], 40), ([5, 5], 0), ([], 0), ([0, 7, 7], 0),
            ([.max / 4, .max / 4, .max / 4, .max / 4], 6_148_914_691_236_517_204),
        ] as [([UInt64], UInt64)])
    func unitsOfThree(parts: [UInt64], units: UInt64) { #expect(PoolChoice.together(parts) == units) }

    @Test func theLargestMemberAndAllTogether() {
        let offers = [
            Self.offer("a", "1", 50), Self.offer("b", "1", 40), Self.offer("c", "2", 20), Self.offer("d", "3", 30),
        ]
        let required = PoolChoice(offers, .required)
        #expect(required.largest?.bytes == 20 && required.total == 20)
        let two = PoolChoice(Array(offers.prefix(3)), .preferred)
        #expect(two.largest?.bytes == 20 && two.total == 20)
        #expect(PoolChoice(Array(offers.prefix(3)), .required).largest == nil)
        #expect(PoolChoice(Array(offers.prefix(3)), .required).total == 0)
    }
}
