import Base
import FabricInterface
import Memory
import NVMeSpec

/// The index that stands for "no slot".
let noSlot = UInt32.max

/// The life of a request, from the arrival of its capsule to the completion of its answer.
package enum RequestState: UInt8, BitwiseCopyable {
    case free
    /// The capsule has arrived and has not been looked at.
    case received
    /// Waits for memory of the data pool.
    case awaitingBuffer
    /// Has memory; waits for READ depth or for send queue entries to fetch the host's data.
    case awaitingRead
    /// RDMA READs of the host's data are running.
    case transferring
    /// At the block device, or with the controller.
    case executing
    /// An Asynchronous Event Request, which waits for an event.
    case held
    /// Executed; waits for send queue entries to answer.
    case awaitingSend
    /// The answer is posted.
    case responding

    private var bit: UInt16 { 1 << UInt16(rawValue) }

    /// The states that may follow, one bit each. What is not listed here is a bug and traps.
    private var successors: UInt16 {
        let ended = RequestState.free.bit | RequestState.awaitingSend.bit | RequestState.responding.bit
        switch self {
        case .free: return RequestState.received.bit
        case .received:
            return ended | RequestState.awaitingBuffer.bit | RequestState.awaitingRead.bit
                | RequestState.transferring.bit | RequestState.executing.bit
        case .awaitingBuffer:
            return ended | RequestState.awaitingRead.bit | RequestState.transferring.bit | RequestState.executing.bit
        case .awaitingRead: return ended | RequestState.transferring.bit
        case .transferring:
            // From transferring to transferring: the next READs of a command with more descriptors than READ depth.
            return ended | RequestState.awaitingRead.bit | RequestState.transferring.bit | RequestState.executing.bit
        case .executing: return ended | RequestState.held.bit
        case .held: return ended
        case .awaitingSend: return RequestState.free.bit | RequestState.responding.bit
        case .responding: return RequestState.free.bit
        }
    }

    /// The one place where a request changes its state.
    @inline(__always)
    mutating func move(to next: RequestState) {
        invariant(successors & next.bit != 0, "a request makes only the listed transitions")
        self = next
    }
}

/// A command that the target is working on. Plain data: nothing here is counted or freed.
struct RequestSlot: BitwiseCopyable {
    var state = RequestState.free
    /// The host's data is in our memory: fetched, or sent in the capsule.
    var hasHostData = false
    /// Answered with an error; data is not sent to the host.
    var failed = false
    /// How many SGL data block descriptors describe the host's memory.
    var descriptorCount: UInt8 = 0
    /// The next descriptor to fetch from, while `transferring`.
    var nextDescriptor: UInt8 = 0
    /// READ depth and send queue entries that this request holds.
    var heldReads: UInt16 = 0
    var heldSends: UInt16 = 0
    /// Block operations that have not ended.
    var runningBlockOperations: UInt16 = 0
    /// The worst that a block operation said.
    var status = Status.success
    /// Slot of the queue pair.
    var queuePair = noSlot
    /// Slot of the receive buffer that holds the capsule, until the answer is posted; `noSlot` also where the capsule was
    /// set aside.
    var receive = noSlot
    /// The channel whose share of buffers and memory the request takes from.
    var channel = noSlot
    /// The generation of the namespace that the command was checked against.
    var namespaceGeneration: UInt32 = 0
    /// The other half of a fused operation, from when both have arrived until one of them is answered or ends.
    var partner = noSlot
    /// Half of a fused operation whose data is here.
    var isReady = false
    /// The next request in whatever list this one waits in.
    var next = noSlot
    /// Where the descriptor list begins in the capsule's data, where there are several descriptors.
    var segmentOffset: UInt32 = 0
    /// SQHD where the queue has no flow control: FFFFh in the answer to Connect, else 0 (NVMe-oF, SQ flow control).
    var headOverride: UInt16 = 0
    /// Bytes that arrived in the capsule after the submission queue entry.
    var capsuleDataLength: UInt32 = 0
    /// Length of the data transfer, in bytes.
    var dataLength: UInt32 = 0
    /// Where `data` is a namespace's own memory: its registration.
    var loan: Registration? = nil
    /// Bytes taken from the data pool; 0 where `data` belongs to the capsule or to a namespace.
    var allocatedLength: UInt32 = 0
    /// Local key of the memory at `data`.
    var dataKey: UInt32 = 0
    /// Where the data is, on our side.
    var data: UnsafeMutableRawPointer? = nil
    /// In-capsule data whose alignment the device does not take: it is copied to memory of the pool.
    var misaligned: UnsafeMutableRawPointer? = nil
    /// The next Dataset Management range to hand to the device.
    var nextRange: UInt16 = 0
    /// The first descriptor; more of them are read from the capsule.
    var descriptor = KeyedDescriptor()
    /// Result of the command: completion queue entry, dwords 0 and 1.
    var result: UInt64 = 0
    /// When the capsule was polled, for the latency counters.
    var arrival = MonotonicTime(nanoseconds: 0)
    var command = SubmissionEntry()
}

/// A keyed SGL data block descriptor, decoded.
struct KeyedDescriptor: BitwiseCopyable {
    var address: UInt64 = 0
    var length: UInt32 = 0
    var key: UInt32 = 0
    var invalidate = false
}

/// A first-in, first-out list of requests, linked through their slots.
struct RequestList: BitwiseCopyable {
    private(set) var head = noSlot
    private var tail = noSlot

    var isEmpty: Bool { head == noSlot }

    mutating func append(_ index: UInt32, _ slots: UnsafeMutablePointer<RequestSlot>) {
        slots[Int(index)].next = noSlot
        if tail == noSlot { head = index } else { slots[Int(tail)].next = index }
        tail = index
    }

    mutating func removeFirst(_ slots: UnsafeMutablePointer<RequestSlot>) -> UInt32? {
        guard head != noSlot else { return nil }
        let first = head
        head = slots[Int(first)].next
        if head == noSlot { tail = noSlot }
        slots[Int(first)].next = noSlot
        return first
    }

    /// Puts a request back to where it was taken from.
    mutating func prepend(_ index: UInt32, _ slots: UnsafeMutablePointer<RequestSlot>) {
        slots[Int(index)].next = head
        head = index
        if tail == noSlot { tail = index }
    }

    /// Takes one request out of the middle; for Abort and for the end of a queue pair.
    mutating func remove(_ index: UInt32, _ slots: UnsafeMutablePointer<RequestSlot>) -> Bool {
        var previous = noSlot
        var current = head
        while current != noSlot {
            if current == index {
                let next = slots[Int(current)].next
                if previous == noSlot { head = next } else { slots[Int(previous)].next = next }
                if tail == current { tail = previous }
                slots[Int(current)].next = noSlot
                return true
            }
            previous = current
            current = slots[Int(current)].next
        }
        return false
    }
}
