import Base
import Testing

@testable import Trace

@Suite struct TraceRingTests {
    private func time(_ nanoseconds: UInt64) -> MonotonicTime { MonotonicTime(nanoseconds: nanoseconds) }

    @Test func eventsHaveTheTimeThatWasNotedBefore() {
        let ring = TraceRing(name: "times", capacity: 16)
        ring.trace.record(.answer, 1, 2)
        ring.trace.note(time(100))
        ring.trace.record(.capsuleIn, 3, 4)
        ring.trace.record(.awaitsDevice, 5, .max)
        ring.trace.note(time(200))
        ring.trace.record(.blockFailed, .max, 6)
        #expect(
            ring.events == [
                TraceEvent(timeNanoseconds: nil, kind: TraceKind.answer.rawValue, a: 1, b: 2),
                TraceEvent(timeNanoseconds: 100, kind: TraceKind.capsuleIn.rawValue, a: 3, b: 4),
                TraceEvent(timeNanoseconds: 100, kind: TraceKind.awaitsDevice.rawValue, a: 5, b: .max),
                TraceEvent(timeNanoseconds: 200, kind: TraceKind.blockFailed.rawValue, a: .max, b: 6),
            ])
    }

    @Test func timesWithoutEventsTakeNoRoom() {
        let ring = TraceRing(name: "idle", capacity: 4)
        ring.trace.record(.answer, 1, 1)
        for nanoseconds in 1...1000 as ClosedRange<UInt64> { ring.trace.note(time(nanoseconds)) }
        ring.trace.record(.answer, 2, 2)
        #expect(ring.events.map(\.a) == [1, 2])
        #expect(ring.events.map(\.timeNanoseconds) == [nil, 1000])
    }

    @Test func theOldestEventsMakeRoom() {
        let ring = TraceRing(name: "round", capacity: 8)
        for number in 0..<1000 as Range<UInt32> {
            ring.trace.record(.blockFailed, number, 0)
        }
        #expect(ring.events.map(\.a) == Array(992..<1000))
    }

    @Test func aRingThatNobodyAskedForHoldsAlmostNothing() {
        let ring = TraceRing()
        for number in 0..<10 as Range<UInt32> { ring.trace.record(.answer, number, 0) }
        #expect(ring.events.map(\.a) == [8, 9])
    }

    @Test func memoryThatIsUsedAgainIsEmpty() {
        for round in 0..<3 as Range<UInt32> {
            let ring = TraceRing(name: "again", capacity: 32)
            #expect(ring.events.isEmpty)
            ring.trace.record(.answer, round, 0)
        }
    }

    @Test func entriesThatMayHaveChangedWhileTheyWereCopiedAreLeftOut() {
        let entries = (0..<8).map { TraceEntry(kind: TraceKind.answer.rawValue, a: UInt32($0), b: 0) }
        entries.withUnsafeBytes { bytes in
            // 16 were recorded when the copy began, 18 when it ended, and a 19th may be half there: of the last 8 (8 to 15)
            // those in the places of 16, 17 and 18 are not to be trusted.
            #expect(TraceEvent.decode(bytes, before: 16, after: 18).map(\.a) == [3, 4, 5, 6, 7])
            #expect(TraceEvent.decode(bytes, before: 16, after: 16).map(\.a) == [1, 2, 3, 4, 5, 6, 7])
            #expect(TraceEvent.decode(bytes, before: 16, after: 16, isOwnThread: true).map(\.a) == Array(0..<8))
            #expect(TraceEvent.decode(bytes, before: 16, after: 100).isEmpty)
            #expect(TraceEvent.decode(bytes, before: 5, after: 6).map(\.a) == [0, 1, 2, 3, 4])
        }
    }

    @Test func namesAndNumbersOfKindsAreDifferentAndFieldsAreWithinTheirWords() {
        #expect(Set(TraceKind.allCases.map(\.name)).count == TraceKind.allCases.count)
        for kind in TraceKind.allCases {
            #expect(TraceKind(name: kind.name) == kind)
            #expect(Set(kind.fields.map(\.name)).count == kind.fields.count)
            for field in kind.fields { #expect(field.bits.upperBound <= (field.word == .a ? 32 : 64)) }
        }
    }

    @Test func fieldsAreCutOutOfWords() {
        // A Read (opcode 02h) with command identifier 1234h of namespace 7, as its first 8 bytes are on the wire.
        let command: [UInt8] = [0x02, 0x40, 0x34, 0x12, 7, 0, 0, 0]
        let word = command.withUnsafeBytes { $0.loadUnaligned(as: UInt64.self) }
        let values = TraceKind.capsuleIn.fields.map { ($0.name, $0.value(a: 0x0003_0011, b: word)) }
        #expect(values.map(\.0) == ["queue", "request", "opcode", "cid", "nsid"])
        #expect(values.map(\.1) == [3, 0x11, 2, 0x1234, 7])
        // LBA Out of Range (80h), Do Not Retry, for the same command: the status is above the phase bit.
        let completion: [UInt8] = [0, 0, 0, 0, 0x34, 0x12, 0x01, 0x81]
        let end = completion.withUnsafeBytes { $0.loadUnaligned(as: UInt64.self) }
        #expect(TraceKind.answer.fields.map { $0.value(a: 0x0003_0011, b: end) } == [3, 0x11, 0x1234, 0x4080])
    }
}
