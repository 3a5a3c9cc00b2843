import Base
import Glibc
import Synchronization

/// The last events of one thread, in memory of a fixed size: newer ones take the places of the oldest.
///
/// A reactor has one and records all the time, so that what happened before an incident can be read afterwards. A dump
/// writes all rings that have a name to a file.
public final class TraceRing: @unchecked Sendable {
    // Unchecked: one thread records through `trace`, and a dump reads positions atomically and leaves out the entries that may
    // have changed meanwhile.

    /// Entries of a reactor's ring: 1 MiB.
    public static let reactorCapacity = 65_536

    /// Its thread records with this.
    public let trace: Trace
    private let registration: TraceRegistry.Place?

    /// A ring that dumps contain.
    ///
    /// - Parameters:
    ///   - name: what its entries are listed under; up to 31 bytes of it are kept.
    ///   - capacity: how many entries it holds, a power of two.
    public init(name: String, capacity: Int = TraceRing.reactorCapacity) {
        (trace, registration) = TraceRegistry.shared.open(name: name, capacity: capacity)
    }

    /// A ring for that which nobody asked to be traced: it holds two entries, and no dump contains it.
    public init() {
        trace = Trace(capacity: 2)
        registration = nil
    }

    deinit {
        if let registration { TraceRegistry.shared.close(registration) } else { trace.deallocate() }
    }

    /// Its events, oldest first. Only for the thread that records.
    public var events: [TraceEvent] {
        let position = trace.head.pointee.position.load(ordering: .relaxed)
        return trace.withBytes { TraceEvent.decode($0, before: position, after: position, isOwnThread: true) }
    }
}

extension Trace {
    init(capacity: Int) {
        invariant(capacity > 1 && capacity.nonzeroBitCount == 1, "a trace ring's capacity is a power of two")
        head = .allocate(capacity: 1)
        head.initialize(to: TraceHead(capacity: capacity))
        entries = .allocate(capacity: capacity)
        // Taken from the machine now, and not page by page while I/O goes on.
        memset(entries, 0, capacity * MemoryLayout.stride(ofValue: entries.pointee))
    }

    var capacity: Int { Int(head.pointee.mask) + 1 }

    /// Makes it as if nothing had been recorded.
    func clear() {
        head.pointee.position.store(0, ordering: .releasing)
        head.pointee.timePosition = 0
    }

    func deallocate() {
        head.deinitialize(count: 1)
        head.deallocate()
        entries.deallocate()
    }

    /// The memory of all entries, used or not.
    func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        body(UnsafeRawBufferPointer(start: entries, count: capacity * MemoryLayout<TraceEntry>.stride))
    }
}
