import Base
import Buffers
import NVMeSpec
import TargetTransport

/// Memory for a request's data, and the host's data in it.
extension CommandEngine {
    /// Gets memory for the request's data, now or when some is free, and goes on from there.
    @inline(__always)
    func acquireBuffer(_ index: RequestIndex) {
        if requests[index].transfer.hasHostData, requests[index].pair.partner.isNone {
            bufferAcquired(index)
        } else if !awaitingBuffer.isAwaited(requests[index].block.channel) || isPrivileged(index), takeBuffer(index) {
            bufferAcquired(index)
        } else {
            count(index) { $0.waitsForMemory &+= 1 }
            requests[index].state.move(to: .awaitingBuffer)
            awaitingBuffer.append(index, requests[index].block.channel, in: requests)
        }
    }

    /// Fabrics and admin commands may use the reserve, so that I/O cannot keep a host from connecting.
    @inline(__always)
    private func isPrivileged(_ index: RequestIndex) -> Bool { connections[requests[index].connection].role != .io }

    @inline(__always)
    func takeBuffer(_ index: RequestIndex) -> Bool {
        let partner = requests[index].pair.partner
        return _fastPath(partner.isNone) ? takeOwnBuffer(index) : takeBuffers(index, partner)
    }

    @inline(__always)
    func takeOwnBuffer(_ index: RequestIndex) -> Bool {
        guard requests[index].transfer.data == nil else { return true }
        let length = requests[index].transfer.byteCount
        let channel = requests[index].block.channel
        let free = data.commonBytes - data.counters.bytesInUse
        guard shares.mayTake(Int(length), channel, free: free),
            let memory = data.allocate(Int(length), priority: isPrivileged(index) ? .admin : .io)
        else { return false }
        shares.takeBytes(length, channel)
        requests[index].transfer.data = memory
        requests[index].transfer.allocated = length
        return true
    }

    /// Gives a request's memory back.
    @inline(__always)
    func giveBuffer(_ index: RequestIndex) {
        let length = requests[index].transfer.allocated
        guard length > 0, let memory = requests[index].transfer.data else { return }
        shares.giveBytes(length, requests[index].block.channel)
        data.free(memory)
        requests[index].transfer.allocated = 0
        requests[index].transfer.data = nil
    }

    /// The request has its memory, and the other half of a fused operation too.
    @inline(__always)
    func bufferAcquired(_ index: RequestIndex) {
        let partner = requests[index].pair.partner
        if _slowPath(!partner.isNone) { return buffersAcquired(index, partner) }
        ownBufferAcquired(index)
    }

    /// The request has its memory: fetch the host's data, or execute.
    @inline(__always)
    func ownBufferAcquired(_ index: RequestIndex) {
        if let capsuleData = requests[index].transfer.misaligned, let memory = requests[index].transfer.data {
            memory.copyMemory(from: capsuleData, byteCount: Int(requests[index].transfer.byteCount))
            requests[index].transfer.misaligned = nil
            requests[index].transfer.hasHostData = true
        }
        if requests[index].header.sendsData, !requests[index].transfer.hasHostData {
            fetch(index)
        } else {
            requests[index].state.move(to: .executing)
            execute(index)
        }
    }

    @inline(__always)
    private func fetch(_ index: RequestIndex) {
        guard let capsule = requests[index].capsule.bytes, let memory = requests[index].transfer.data else {
            invariantViolated("data is fetched into memory")
        }
        requests[index].state.move(to: .fetching)
        order(
            .fetch(
                Fetch(
                    index, on: requests[index].connection, shape: requests[index].capsule.shape, capsule: capsule,
                    into: memory)))
    }

    /// The host's data is here, or never will be.
    @inline(__always)
    func fetched(_ index: RequestIndex, isComplete: Bool, hasWaited: Bool) {
        if _slowPath(hasWaited) { count(index) { $0.waitsForReadDepth &+= 1 } }
        // A fetch that fails ends its connection.
        guard isComplete, !isDead(index) else { return end(index) }
        requests[index].transfer.hasHostData = true
        requests[index].state.move(to: .executing)
        execute(index)
    }

    /// Takes back a fetch that the port has not begun.
    func withdrawFetch(_ index: RequestIndex) -> Bool {
        orders.carry(now: now)
        return port.withdraw(index)
    }

    /// Changes a counter of the subsystem that a request is for.
    @inline(__always)
    func count(_ index: RequestIndex, _ change: (inout Statistics) -> Void) {
        connections[requests[index].connection].statistics?.update(change)
    }
}
