import Synchronization

/// The rings of the process that have names, for dumps.
///
/// A dump may run in a signal handler, so it takes no lock: it reads which places are taken. The memory of a ring stays in
/// its place when the ring ends, for the next ring of that capacity, and is never freed.
final class TraceRegistry: @unchecked Sendable {
    // Unchecked: places are changed under the lock, and only while they are not taken; `isTaken` is what others read first.

    static let shared = TraceRegistry()
    /// Rings beyond this number record like the others, and dumps do not contain them.
    static let capacity = 256
    /// Bytes of a name, with the zeroes behind it.
    static let nameBytes = 32

    /// The place of a registered ring.
    struct Place: BitwiseCopyable, Sendable { let index: Int }

    private let isTaken: UnsafeMutablePointer<Atomic<Bool>>
    private let traces: UnsafeMutablePointer<Trace?>
    private let names: UnsafeMutablePointer<UInt8>
    private let lock = Mutex<Void>(())

    private init() {
        isTaken = .allocate(capacity: Self.capacity)
        for index in 0..<Self.capacity { (isTaken + index).initialize(to: Atomic(false)) }
        traces = .allocate(capacity: Self.capacity)
        traces.initialize(repeating: nil, count: Self.capacity)
        names = .allocate(capacity: Self.capacity * Self.nameBytes)
        names.initialize(repeating: 0, count: Self.capacity * Self.nameBytes)
    }

    /// A ring with cleared memory; without a place if all are taken.
    func open(name: String, capacity: Int) -> (Trace, Place?) {
        lock.withLock { _ in
            let free = (0..<Self.capacity).filter { !isTaken[$0].load(ordering: .relaxed) }
            let used = free.first { traces[$0]?.capacity == capacity }
            guard let index = used ?? free.first(where: { traces[$0] == nil }) else {
                return (Trace(capacity: capacity), nil)
            }
            let trace = traces[index] ?? Trace(capacity: capacity)
            trace.clear()
            traces[index] = trace
            let bytes = names + index * Self.nameBytes
            bytes.update(repeating: 0, count: Self.nameBytes)
            for (place, byte) in name.utf8.prefix(Self.nameBytes - 1).enumerated() { bytes[place] = byte }
            isTaken[index].store(true, ordering: .releasing)
            return (trace, Place(index: index))
        }
    }

    func close(_ place: Place) {
        lock.withLock { _ in isTaken[place.index].store(false, ordering: .releasing) }
    }

    /// Calls `body` with each ring and the `nameBytes` of its name. Takes no lock and allocates nothing.
    func forEach(_ body: (Trace, UnsafeRawPointer) -> Void) {
        for index in 0..<Self.capacity where isTaken[index].load(ordering: .acquiring) {
            if let trace = traces[index] { body(trace, UnsafeRawPointer(names + index * Self.nameBytes)) }
        }
    }
}
