import Base

/// Decides when a log tells an event that comes again and again: at once, and then at intervals with how often it has come. The first
/// interval is ten seconds, and each one twice as long as the one before, up to ten minutes. An interval without the event ends this.
public struct RepeatedEvents<Event: Sendable>: Sendable {
    private struct Entry {
        var event: Event
        var told: MonotonicTime
        var intervalMilliseconds: UInt64 = 10_000
        var count = 0
    }

    private static var lastIntervalMilliseconds: UInt64 { 600_000 }
    /// Events that are remembered.
    private static var capacity: Int { 4096 }
    private var entries: [String: Entry] = [:]

    public init() {}

    /// Whether an event is to be told now; else it is counted. An event that finds 4096 others remembered is told each time.
    ///
    /// - Parameter key: what two events share that are one that repeats.
    public mutating func isNews(_ event: Event, key: String, at now: MonotonicTime) -> Bool {
        if entries[key] != nil {
            entries[key]?.count += 1
            return false
        }
        if entries.count < Self.capacity { entries[key] = Entry(event: event, told: now) }
        return true
    }

    /// The events whose interval is over and that have come in it, with how often.
    public mutating func due(at now: MonotonicTime) -> [(event: Event, count: Int)] {
        var due: [(Event, Int)] = []
        for (key, entry) in entries {
            guard now.nanoseconds(since: entry.told) / 1_000_000 >= entry.intervalMilliseconds else { continue }
            if entry.count == 0 {
                entries[key] = nil
            } else {
                due.append((entry.event, entry.count))
                let next = min(entry.intervalMilliseconds * 2, Self.lastIntervalMilliseconds)
                entries[key] = Entry(event: entry.event, told: now, intervalMilliseconds: next)
            }
        }
        return due
    }
}
