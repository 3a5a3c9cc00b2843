import Replication
import Testing
import VolumeSimulation

/// Contents that the oracle takes for possible.
@Suite struct BlockHistoryTests {
    private var history = BlockHistory(blocks: 1)
    private var lastStop: [UInt64] = [0, 0, 0]

    /// Writes a value to the block at a time, acknowledged with these members in sync.
    private mutating func write(_ value: UInt64, at time: UInt64, holders: MemberSet = .all) {
        history.writeStarted(0, id: value, value: value)
        let isPossible = history.writeAcknowledged(
            0,
            BlockHistory.Acknowledgement(
                id: value, value: value, isDurable: false, writer: 1, holders: holders, startedAt: time,
                lastStop: lastStop))
        #expect(isPossible)
    }

    /// A member loses its cache and leaves.
    private mutating func stop(_ member: MemberIndex, at time: UInt64) {
        lastStop[member] = time
        history.cachesLost { _ in lastStop }
        history.left([member])
    }

    private var possible: Set<UInt64> { Set(history.blocks[0].candidates) }

    /// Each member is down once, and has everything again before the next is: nothing may go.
    @Test mutating func rollingRestartsLoseNothing() {
        write(5, at: 10)
        for member in MemberSet.all {
            let time = 100 * UInt64(member.number + 1)
            stop(member, at: time)
            history.joined(member, since: time + 50)
        }
        #expect(possible == [5])
    }

    @Test mutating func allMembersLoseWhatWasNotFlushed() {
        write(5, at: 10)
        for member in MemberSet.all { stop(member, at: 100) }
        #expect(possible == [0, 5])
    }

    /// It was down again after it had come back, and before it was in sync.
    @Test mutating func aMemberIsDownWhileItIsTakenIn() {
        write(5, at: 10)
        stop(0, at: 100)
        stop(0, at: 200)
        history.joined(0, since: 150)
        stop(1, at: 300)
        stop(2, at: 300)
        #expect(possible == [0, 5])
    }

    /// Writes acknowledged before the flush was submitted stay, whatever was acknowledged before it ended.
    @Test mutating func aFlushHoldsWhatCameBeforeIt() {
        write(5, at: 10)
        let submitted = history.sequence
        write(6, at: 20)
        history.flushed(since: submitted)
        for member in MemberSet.all { stop(member, at: 100) }
        #expect(possible == [5, 6])
    }

    /// A value that came back was written over again: an earlier flush says nothing of it.
    @Test mutating func aValueThatCameBackIsSupersededAnew() {
        write(5, at: 10)
        for member in MemberSet.all { stop(member, at: 100) }
        for member in MemberSet.all { history.joined(member, since: 150) }
        let submitted = history.sequence
        write(6, at: 200)
        history.flushed(since: submitted)
        for member in MemberSet.all { stop(member, at: 300) }
        #expect(possible == [0, 5, 6])
    }
}
