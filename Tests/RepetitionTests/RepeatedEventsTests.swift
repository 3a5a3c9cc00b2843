import Base
import Repetition
import Testing

/// A log of events that come again and again, by a clock of the test's own.
@Suite("Events that repeat")
struct RepeatedEventsTests {
    private static func second(_ second: UInt64) -> MonotonicTime { MonotonicTime(nanoseconds: second * 1_000_000_000) }

    /// A host that is refused each second: the lines of the log, by second, with their counts. A line that comes at once has none.
    private static func lines(of hours: UInt64, restsFrom rest: ClosedRange<UInt64>? = nil) -> [[UInt64]] {
        var events = RepeatedEvents<String>()
        var lines: [[UInt64]] = []
        for now in 0...hours * 3600 {
            for due in events.due(at: second(now)) { lines.append([now, UInt64(due.count)]) }
            if let rest, rest.contains(now) { continue }
            if events.isNews("refused", key: "host", at: second(now)) { lines.append([now]) }
        }
        return lines
    }

    @Test("The first is told at once, and the others by intervals that double up to ten minutes, each with its count")
    func intervals() {
        #expect(
            Self.lines(of: 1) == [
                [0], [10, 9], [30, 20], [70, 40], [150, 80], [310, 160], [630, 320], [1230, 600], [1830, 600],
                [2430, 600],
                [3030, 600],
            ])
    }

    /// A log with its events.
    private final class Log<Event: Sendable> {
        private var events = RepeatedEvents<Event>()
        func isNews(_ event: Event, _ key: String, at second: Double) -> Bool {
            events.isNews(event, key: key, at: MonotonicTime(nanoseconds: UInt64(second * 1e9)))
        }
        func due(at second: Double) -> [(event: Event, count: Int)] {
            events.due(at: MonotonicTime(nanoseconds: UInt64(second * 1e9)))
        }
    }

    @Test("What came in an interval is not told before its end, and is told once")
    func early() {
        let log = Log<String>()
        #expect(log.isNews("refused", "host", at: 100))
        #expect(!log.isNews("refused", "host", at: 101))
        #expect(log.due(at: 109.999).isEmpty)
        #expect(log.due(at: 110).map(\.count) == [1])
        #expect(log.due(at: 111).isEmpty)
    }

    @Test("After an interval without it an event is news again, and its intervals are short again")
    func rest() {
        // The interval that begins at 70 s has nothing, and ends at 150 s.
        #expect(
            Self.lines(of: 1, restsFrom: 60...199).prefix(6) == [[0], [10, 9], [30, 20], [70, 30], [200], [210, 9]])
    }

    @Test("Each event has intervals and a count of its own, and is told with what was first known of it")
    func apart() {
        let log = Log<String>()
        #expect(log.isNews("a from port 1", "a", at: 0))
        #expect(log.isNews("b", "b", at: 5))
        for port in 2...4 { #expect(!log.isNews("a from port \(port)", "a", at: 6)) }
        #expect(!log.isNews("b", "b", at: 7))
        let first = log.due(at: 10)
        #expect(first.map(\.event) == ["a from port 1"])
        #expect(first.map(\.count) == [3])
        #expect(log.due(at: 15).map(\.event) == ["b"])
    }

    @Test("Events beyond 4,096 are told each time, until others are forgotten")
    func capacity() {
        let log = Log<Int>()
        for number in 0..<4096 { #expect(log.isNews(number, "\(number)", at: 0)) }
        for _ in 0..<2 { #expect(log.isNews(4096, "more", at: 1)) }
        #expect(!log.isNews(7, "7", at: 2))
        #expect(log.due(at: 10).map(\.event) == [7])
        #expect(log.isNews(4096, "more", at: 11))
        #expect(!log.isNews(4096, "more", at: 12))
    }
}
