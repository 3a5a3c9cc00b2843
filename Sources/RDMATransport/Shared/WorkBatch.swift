import Base
import FabricInterface

/// Work for one device, collected during a round and posted at its end: receive buffers first, so that no peer can outrun
/// them, then with one doorbell for each run of requests of one queue pair.
///
/// Nothing is allocated after `init`. What does not fit is posted early.
struct WorkBatch: ~Copyable {
    private let context: FabricContext
    private let work: UnsafeMutableBufferPointer<WorkRequest>
    private let receives: UnsafeMutableBufferPointer<ReceiveRequest>
    private var workCount = 0
    private var receiveCount = 0
    /// The queue pair that the receives are for; `nil` for the shared receive queue.
    private var receiver: QueuePairHandle?

    init(_ context: FabricContext, work workCapacity: Int, receives receiveCapacity: Int) {
        self.context = context
        work = .allocate(capacity: workCapacity)
        receives = .allocate(capacity: receiveCapacity)
    }

    deinit {
        work.deallocate()
        receives.deallocate()
    }

    @inline(__always)
    mutating func post(_ request: WorkRequest) {
        if workCount == work.count { flush() }
        work[workCount] = request
        workCount += 1
    }

    @inline(__always)
    mutating func post(_ receive: ReceiveRequest) {
        if receiveCount == receives.count { flush() }
        receives[receiveCount] = receive
        receiveCount += 1
    }

    /// A buffer for a queue pair's own receive queue.
    @inline(__always)
    mutating func post(_ receive: ReceiveRequest, to queuePair: QueuePairHandle) {
        if receiveCount > 0, receiver != queuePair { flushReceives() }
        receiver = queuePair
        post(receive)
    }

    private mutating func flushReceives() {
        guard receiveCount > 0 else { return }
        let buffers = UnsafeBufferPointer(rebasing: receives[..<receiveCount])
        if let receiver { context.postReceives(buffers, to: receiver) } else { context.postSharedReceives(buffers) }
        receiveCount = 0
    }

    mutating func flush() {
        flushReceives()
        if workCount > 0 {
            context.post(UnsafeBufferPointer(rebasing: work[..<workCount]))
            workCount = 0
        }
    }
}
