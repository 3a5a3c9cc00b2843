import Base
import FabricInterface

/// Names a queue pair of the network; one that was destroyed is not found again, even where its place is reused.
struct QueuePairReference: Hashable, BitwiseCopyable {
    var index: UInt32
    var generation: UInt32
    static let none = QueuePairReference(index: .max, generation: 0)
}

/// All queue pairs of a network.
struct QueuePairRegistry {
    private var places: [SimulatedQueuePair?] = []
    private var generations: [UInt32] = []
    private var free: [UInt32] = []

    mutating func reserve() -> QueuePairReference {
        if let index = free.popLast() {
            return QueuePairReference(index: index, generation: generations[Int(index)])
        }
        places.append(nil)
        generations.append(1)
        return QueuePairReference(index: UInt32(places.count - 1), generation: 1)
    }

    mutating func insert(_ queuePair: SimulatedQueuePair) { places[Int(queuePair.reference.index)] = queuePair }

    mutating func remove(_ reference: QueuePairReference) {
        places[Int(reference.index)] = nil
        generations[Int(reference.index)] &+= 1
        free.append(reference.index)
    }

    subscript(reference: QueuePairReference) -> SimulatedQueuePair? {
        guard Int(reference.index) < places.count, generations[Int(reference.index)] == reference.generation else {
            return nil
        }
        return places[Int(reference.index)]
    }
}

/// Work in a send queue.
struct SendEntry: BitwiseCopyable {
    var request: WorkRequest
    /// How it ended; set when it has been executed.
    var status = CompletionStatus.success
}

/// A fixed ring of plain values, addressed by how many have ever been put in.
struct Ring<Element: BitwiseCopyable>: ~Copyable {
    let capacity: Int
    private let memory: UnsafeMutablePointer<Element>
    /// Of the places, whose number is a power of two: a division for each look would take longer than the look.
    private let mask: UInt64
    private(set) var head: UInt64 = 0
    private(set) var tail: UInt64 = 0
    /// The element that is in the first place. A ring that has become empty begins there again: its few elements stay in a few
    /// cache lines, though the ring is as long as a device's.
    private var origin: UInt64 = 0

    init(capacity: Int) {
        self.capacity = max(capacity, 1)
        let places = 1 << (Int.bitWidth - (self.capacity - 1).leadingZeroBitCount)
        mask = UInt64(places - 1)
        memory = .allocate(capacity: places)
    }

    deinit { memory.deallocate() }

    var count: Int { Int(tail - head) }
    var isFull: Bool { count == capacity }

    subscript(position: UInt64) -> UnsafeMutablePointer<Element> { memory + Int((position &- origin) & mask) }

    mutating func append(_ element: Element) {
        invariant(!isFull, "a simulated ring holds no more than its capacity")
        self[tail].initialize(to: element)
        tail += 1
    }

    mutating func removeFirst() -> Element? {
        guard head < tail else { return nil }
        let element = self[head].pointee
        head += 1
        if head == tail { origin = tail }
        return element
    }

    /// Keeps only the elements that `isKept` says.
    mutating func filter(_ isKept: (Element) -> Bool) {
        let end = tail
        tail = head
        for position in head..<end {
            let element = self[position].pointee
            if isKept(element) {
                self[tail].initialize(to: element)
                tail += 1
            }
        }
    }
}

/// A queue pair: its queues, and how far its work has come.
///
/// Work goes through four counters of the send queue, in order: posted (the ring's tail), launched (on its way),
/// arrived (at the peer), executed (there), acknowledged (the ring's head).
final class SimulatedQueuePair {
    enum State {
        /// Made, not connected: takes receives, refuses work.
        case initial
        case ready
        case error
    }

    let reference: QueuePairReference
    let handle: QueuePairHandle
    /// Outlives its queue pairs.
    unowned(unsafe) let context: SimulatedContext
    /// The context's.
    unowned(unsafe) let device: SimulatedDevice
    let options: QueuePairOptions
    var state = State.initial
    var peer = QueuePairReference.none
    var peerDevice: SimulatedDevice?

    var sends: Ring<SendEntry>
    var launched: UInt64 = 0
    var arrived: UInt64 = 0
    var executed: UInt64 = 0
    /// Entries of the send queue in use: an entry is free again when a completion at or behind it has been polled.
    var occupied = 0
    /// Acknowledged entries that no completion has reported yet.
    var unreported = 0
    /// In-order delivery: nothing arrives before what was sent earlier.
    var lastArrival: UInt64 = 0
    var lastAcknowledgement: UInt64 = 0

    var receives: Ring<ReceiveRequest>
    /// Peers whose SEND found no receive buffer of this queue pair.
    var waiters: [QueuePairReference] = []
    /// The head of the arrived work waits: for a receive buffer of the peer, or for the transport to give up.
    var isStalled = false
    /// It is a receive buffer that the work waits for.
    var waitsForReceive = false
    /// Raised with each wait: a timeout of an earlier wait is recognised.
    var waitNumber: UInt64 = 0
    /// READs launched and not acknowledged, and how many there may be.
    var readsRunning = 0
    var readDepth = 1
    var receiverNotReadyRetries: UInt8 = 7
    let inlineDataLimit: Int
    private let inlineData: UnsafeMutableRawPointer?

    init(
        _ reference: QueuePairReference, _ handle: QueuePairHandle, _ context: SimulatedContext,
        _ options: QueuePairOptions
    ) {
        self.reference = reference
        self.handle = handle
        self.context = context
        device = context.device
        self.options = options
        sends = Ring(capacity: options.sendEntries)
        receives = Ring(capacity: options.receiveEntries)
        inlineDataLimit = min(options.maxInlineData, device.maxInlineData)
        inlineData =
            inlineDataLimit > 0 ? .allocate(byteCount: options.sendEntries * inlineDataLimit, alignment: 8) : nil
    }

    deinit { inlineData?.deallocate() }

    /// The memory for the inline payload of a send queue entry.
    func inlineSlot(_ position: UInt64) -> UnsafeMutableRawPointer? {
        inlineData.map { $0 + Int(position % UInt64(sends.capacity)) * inlineDataLimit }
    }
}
