import Replication
import Testing

@Suite struct MemberSetTests {
    @Test func membersComeInTheOrderOfTheirNumbers() {
        #expect(Array([2, 0] as MemberSet) == [0, 2])
        #expect(Array(MemberSet.all) == [0, 1, 2])
        #expect(Array(MemberSet()) == [])
        #expect(([2, 1] as MemberSet).first == 1)
        #expect(MemberSet().first == nil)
    }

    @Test func changesOfASetThatIsGoneThroughDoNotCount() {
        var set: MemberSet = [0, 2]
        var seen: [MemberIndex] = []
        for member in set {
            set = [1]
            seen.append(member)
        }
        #expect(seen == [0, 2])
    }

    @Test func setsAreTakenTogetherAndApart() {
        let set: MemberSet = [0, 1]
        #expect(set.union([2]) == .all)
        #expect(set.intersection([1, 2]) == [1])
        #expect(set.subtracting([1, 2]) == [0])
        #expect(set.without(0) == [1])
        #expect(set.without(2) == set)
        #expect(set.symmetricDifference([1, 2]) == [0, 2])
        #expect(set.contains(1) && !set.contains(2))
        #expect(set.count == 2)
        #expect(MemberSet(MemberIndex(2)) == [2])
    }

    @Test func insertionAndRemovalTellWhatWasThere() {
        var set: MemberSet = [1]
        #expect(set.insert(1).inserted == false)
        #expect(set.insert(2).inserted == true)
        #expect(set.remove(0) == nil)
        #expect(set.remove(1) == 1)
        #expect(set == [2])
        #expect("\(set)" == "{2}")
    }

    @Test func membersAreNumberedRoundAndRound() {
        #expect(MemberIndex(0).next == 1)
        #expect(MemberIndex(2).next == 0)
        #expect(MemberIndex(1).number == 1)
        #expect("\(MemberIndex(1))" == "1")
    }
}
