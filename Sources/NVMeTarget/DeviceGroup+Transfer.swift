import Base
import FabricInterface
import Memory
import NVMeSpec

/// Memory for a request's data, and RDMA READs of the host's data into it.
extension DeviceGroup {
    /// Gets memory for `dataLength` bytes, now or when some is free, and goes on from there.
    func acquireBuffer(_ index: UInt32, now: MonotonicTime) {
        let request = requests[index]
        if request.pointee.hasHostData, request.pointee.partner == noSlot {
            bufferAcquired(index, now: now)
        } else if !awaitingBuffer.isAwaited(request.pointee.channel &+ 1) || isPrivileged(index), takeBuffer(index) {
            bufferAcquired(index, now: now)
        } else {
            countWait(index, \.waitsForMemory)
            request.pointee.state.move(to: .awaitingBuffer)
            // `noSlot` is the greatest number there is: what is for no channel goes to 0.
            awaitingBuffer.append(index, request.pointee.channel &+ 1, requests.slots)
        }
    }

    /// Fabrics and admin commands may use the reserve, so that I/O cannot keep a host from connecting.
    private func isPrivileged(_ index: UInt32) -> Bool {
        queuePairs[requests[index].pointee.queuePair].pointee.role != .io
    }

    func takeBuffer(_ index: UInt32) -> Bool {
        let partner = requests[index].pointee.partner
        return _fastPath(partner == noSlot) ? takeOwnBuffer(index) : takeBuffers(index, partner)
    }

    @inline(__always)
    func takeOwnBuffer(_ index: UInt32) -> Bool {
        let request = requests[index]
        guard request.pointee.data == nil else { return true }
        let length = Int(request.pointee.dataLength)
        let free = data.commonBytes - data.counters.bytesInUse
        guard shares.mayTake(length, request.pointee.channel, free: free),
            let memory = data.allocate(length, priority: isPrivileged(index) ? .admin : .io)
        else { return false }
        shares.takeBytes(request.pointee.dataLength, request.pointee.channel)
        request.pointee.data = memory
        request.pointee.dataKey = dataKey
        request.pointee.allocatedLength = UInt32(length)
        return true
    }

    /// Gives a request's memory back.
    @inline(__always)
    func giveBuffer(_ request: UnsafeMutablePointer<RequestSlot>) {
        guard request.pointee.allocatedLength > 0, let memory = request.pointee.data else { return }
        shares.giveBytes(request.pointee.allocatedLength, request.pointee.channel)
        data.free(memory)
        request.pointee.allocatedLength = 0
        request.pointee.data = nil
    }

    /// The request has its memory, and the other half of a fused operation too.
    func bufferAcquired(_ index: UInt32, now: MonotonicTime) {
        let partner = requests[index].pointee.partner
        if _slowPath(partner != noSlot) { return buffersAcquired(index, partner, now: now) }
        ownBufferAcquired(index, now: now)
    }

    /// The request has its memory: fetch the host's data, or execute.
    @inline(__always)
    func ownBufferAcquired(_ index: UInt32, now: MonotonicTime) {
        let request = requests[index]
        if let capsuleData = request.pointee.misaligned, let memory = request.pointee.data {
            memory.copyMemory(from: capsuleData, byteCount: Int(request.pointee.dataLength))
            request.pointee.misaligned = nil
            request.pointee.hasHostData = true
        }
        if request.pointee.command.sendsData && !request.pointee.hasHostData {
            transfer(index)
        } else {
            request.pointee.state.move(to: .executing)
            execute(index, now: now)
        }
    }

    /// Posts RDMA READs for as many descriptors as READ depth and send queue allow; waits its turn for the rest.
    private func transfer(_ index: UInt32) {
        let request = requests[index]
        let queuePair = queuePairs[request.pointee.queuePair]
        if queuePair.pointee.awaitingRead.isEmpty, postReads(index) { return }
        countWait(index, \.waitsForReadDepth)
        request.pointee.state.move(to: .awaitingRead)
        queuePair.pointee.awaitingRead.append(index, requests.slots)
    }

    /// Posts what fits; `false` when nothing does. Only the last READ of a batch is signaled: they end in order.
    private func postReads(_ index: UInt32) -> Bool {
        let request = requests[index]
        let queuePair = queuePairs[request.pointee.queuePair]
        let remaining = Int32(request.pointee.descriptorCount - request.pointee.nextDescriptor)
        // Two by two: more arguments are an array, which unoptimised builds allocate.
        let entries = min(queuePair.pointee.sendsAvailable, sendBudget)
        let count = min(remaining, min(queuePair.pointee.readsAvailable, entries))
        guard count > 0 else {
            if sendBudget == 0 { awaitsBudget = true }
            return false
        }
        var local = UInt64(UInt(bitPattern: request.pointee.data)) + UInt64(fetchedBytes(request))
        for step in 0..<Int(count) {
            let descriptor = descriptor(request.pointee.nextDescriptor, of: request)
            let isLast = step == Int(count) - 1
            post(
                WorkRequest(
                    id: (isLast ? WorkKind.read : .unsignaled).id(index), queuePair: queuePair.pointee.handle,
                    opcode: .rdmaRead, flags: isLast ? .signaled : [],
                    segment: ScatterGatherElement(
                        address: local, length: descriptor.length, localKey: request.pointee.dataKey),
                    remoteAddress: descriptor.address, remoteKey: descriptor.key))
            local += UInt64(descriptor.length)
            request.pointee.nextDescriptor += 1
        }
        queuePair.pointee.readsAvailable -= count
        queuePair.pointee.sendsAvailable -= count
        sendBudget -= count
        request.pointee.heldReads = UInt16(count)
        request.pointee.heldSends = UInt16(count)
        request.pointee.state.move(to: .transferring)
        return true
    }

    private func fetchedBytes(_ request: UnsafeMutablePointer<RequestSlot>) -> Int {
        var bytes = 0
        for position in 0..<Int(request.pointee.nextDescriptor) {
            bytes += Int(descriptor(UInt8(position), of: request).length)
        }
        return bytes
    }

    /// The READs of a request ended.
    func transferred(_ completion: WorkCompletion, now: MonotonicTime) {
        let index = UInt32(truncatingIfNeeded: completion.id)
        let request = requests[index]
        let slot = request.pointee.queuePair
        let queuePair = queuePairs[slot]
        queuePair.pointee.readsAvailable += Int32(request.pointee.heldReads)
        queuePair.pointee.sendsAvailable += Int32(request.pointee.heldSends)
        sendBudget += Int32(request.pointee.heldSends)
        queuePair.pointee.endedWork &+= 1
        request.pointee.heldReads = 0
        request.pointee.heldSends = 0
        if completion.status != .success { connectionBroke(slot, completion) }
        if queuePair.pointee.state == .closing {
            end(index)
        } else if request.pointee.nextDescriptor < request.pointee.descriptorCount {
            transfer(index)
        } else {
            request.pointee.hasHostData = true
            request.pointee.state.move(to: .executing)
            execute(index, now: now)
        }
        sendQueueMoved(slot)
    }

    /// Send queue entries or READ depth came free: go on with those who wait, answers first.
    func sendQueueMoved(_ slot: UInt32) {
        let queuePair = queuePairs[slot]
        guard queuePair.pointee.state == .live else { return }
        while let index = queuePair.pointee.awaitingSend.removeFirst(requests.slots) {
            if !postAnswer(index) {
                queuePair.pointee.awaitingSend.prepend(index, requests.slots)
                return
            }
        }
        while let index = queuePair.pointee.awaitingRead.removeFirst(requests.slots) {
            if !postReads(index) {
                queuePair.pointee.awaitingRead.prepend(index, requests.slots)
                return
            }
        }
    }

    /// Goes on with all who wait for the budget, as soon as it is enough for any answer.
    func retryPosting() {
        guard sendBudget > Int32(maxDescriptors) else { return }
        awaitsBudget = false
        for slot in boundSlots { sendQueueMoved(slot) }
    }

    @inline(__always)
    func countWait(_ index: UInt32, _ counter: WritableKeyPath<Statistics, UInt64>) {
        guard let statistics = queuePairs[requests[index].pointee.queuePair].pointee.statistics else { return }
        statistics.pointee[keyPath: counter] &+= 1
    }
}
