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

    /// Gets memory for the request's data, now or when some is free, and goes on from there.
    @inline(__always)
    func acquireMemory(_ index: RequestIndex) {
        if requests[index].transfer.hasHostData, requests[index].pair.partner.isNone {
            memoryTaken(index)
        } else if !memory.waiting.isAwaited(requests[index].block.channel) || isPrivileged(index), takeMemory(index) {
            memoryTaken(index)
        } else {
            count(index) { $0.waitsForMemory &+= 1 }
            trace.record(.awaitsMemory, place(of: index), 0)
            requests[index].state.move(to: .awaitingBuffer)
            memory.waiting.append(index, in: requests)
        }
    }

    /// Gets memory for the request's data, and the other half's of a fused operation; `false` where there is none now.
    @inline(__always)
    func takeMemory(_ index: RequestIndex) -> Bool {
        let partner = requests[index].pair.partner
        if _slowPath(!partner.isNone) { return memory.takeBoth(index, partner, in: requests) }
        return memory.take(&requests[index], isPrivileged: isPrivileged(index))
    }
}
