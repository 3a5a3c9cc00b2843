import Base
import TargetTransport
import Trace

/// Requests that wait for a slot, for memory or for a block device, and how they go on.
extension CommandEngine {
    /// Starts what waited for a request slot, for memory, or for the block device.
    func retryWaiting() {
        while let (request, capsule) = capsules.admitLate(&requests) { begin(request, capsule) }
        if !memory.waiting.isEmpty {
            for list in memory.waiting.channels { retryMemory(list) }
        }
        guard !blockIO.waiting.isEmpty else { return }
        for list in blockIO.waiting.channels { retryBlock(list) }
    }

    private func retryMemory(_ list: Int) {
        while let index = memory.waiting.removeFirst(list, in: requests) {
            if isDead(index) {
                end(index)
            } else if takeMemory(index) {
                memoryTaken(index)
            } else {
                return memory.waiting.prepend(index, list, in: requests)
            }
        }
    }

    private func retryBlock(_ list: Int) {
        while let index = blockIO.waiting.removeFirst(list, in: requests) {
            if isDead(index) {
                end(index)
            } else if !submitToBlock(index) {
                return blockIO.waiting.prepend(index, list, in: requests)
            }
        }
    }

    /// Lets a request wait until its channel has room.
    func awaitDevice(_ index: RequestIndex) {
        trace.record(.awaitsDevice, place(of: index), 0)
        blockIO.waiting.append(index, in: requests)
    }

    /// A request and its queue, as the trace names them.
    @inline(__always)
    func place(of index: RequestIndex) -> UInt32 { requests[index].connection.position << 16 | index.position }
}
