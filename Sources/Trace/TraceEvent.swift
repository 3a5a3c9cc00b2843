/// An entry of a trace ring with the time that it happened at.
public struct TraceEvent: Equatable, Sendable {
    /// Monotonic time in nanoseconds; `nil` if the ring no longer holds the time noted before it.
    public var timeNanoseconds: UInt64?
    /// The raw value of a `TraceKind`, which this version of the program may not know.
    public var kind: UInt32
    public var a: UInt32
    public var b: UInt64

    public init(timeNanoseconds: UInt64?, kind: UInt32, a: UInt32, b: UInt64) {
        self.timeNanoseconds = timeNanoseconds
        self.kind = kind
        self.a = a
        self.b = b
    }

    /// The events in a ring's memory, oldest first; none if the counts contradict each other.
    ///
    /// - Parameters:
    ///   - bytes: a whole number of entries, at least one.
    ///   - before: how many entries had been recorded before the memory was copied.
    ///   - after: the same, read after it was copied. Entries whose places may have been written meanwhile are left out.
    ///   - isOwnThread: the copy was made by the thread that records, which was not recording then.
    static func decode(
        _ bytes: UnsafeRawBufferPointer, before: UInt64, after: UInt64, isOwnThread: Bool = false
    ) -> [TraceEvent] {
        guard before <= after, after < .max else { return [] }
        let stride = MemoryLayout<TraceEntry>.stride
        let capacity = UInt64(bytes.count / stride)
        let written = isOwnThread ? after : after + 1
        let first = written > capacity ? written - capacity : 0
        guard first < before else { return [] }
        var events: [TraceEvent] = []
        var time: UInt64?
        for position in first..<before {
            let entry = bytes.loadUnaligned(fromByteOffset: Int(position % capacity) * stride, as: TraceEntry.self)
            if entry.kind == TraceKind.time.rawValue {
                time = entry.b
            } else {
                events.append(TraceEvent(timeNanoseconds: time, kind: entry.kind, a: entry.a, b: entry.b))
            }
        }
        return events
    }
}
