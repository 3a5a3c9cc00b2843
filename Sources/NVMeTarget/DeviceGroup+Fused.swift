import Base
import BlockInterface
import Memory
import NVMeSpec

/// Compare and Write, a fused operation: two commands, one behind the other in the submission queue, of which the second is
/// done only where the first finds what it expects (NVMe Base, "Fused Operations"; NVM Command Set, "Compare and Write").
///
/// The first half waits for the second, which is the next command of its submission queue. If the next command is another
/// one, the half is answered with Command Aborted due to Missing Fused Command (NVMe Base, "Generic Command Status Values",
/// 0Ah); so is a half behind which nothing comes for `Limits.fusedMilliseconds`. The specification has no time limit, for a
/// queue in memory holds both halves when its doorbell is rung; capsules come one by one. A half that waits holds a request
/// and no receive buffer or data memory, and each queue has one at the most; it ends with Abort, and with its queue.
///
/// Both are then checked, get memory together and fetch their data side by side; they go to the block device as one request,
/// in the second half's name.
extension DeviceGroup {
    /// A command that is half of a fused operation, or that came where the second half of one should be.
    func startFused(_ index: UInt32, now: MonotonicTime) {
        let request = requests[index]
        let queuePair = queuePairs[request.pointee.queuePair]
        guard queuePair.pointee.role == .io else { return answer(index, .invalidField.doNotRetry) }
        let first = queuePair.pointee.firstHalf
        queuePair.pointee.firstHalf = noSlot
        let operation = request.pointee.command.fusedOperation
        if operation == .second, first != noSlot { return startPair(first, index, now: now) }
        if first != noSlot { answer(first, .abortedMissingFused) }
        switch operation {
        case .none: startAlone(index, now: now)
        case .first:
            // For as long as `Limits.fusedMilliseconds`: its receive buffer is for others meanwhile.
            setAside(request)
            queuePair.pointee.firstHalf = index
        case .second: answer(index, .abortedMissingFused)
        case .reserved: answer(index, .invalidField.doNotRetry)
        }
    }

    private func startPair(_ first: UInt32, _ second: UInt32, now: MonotonicTime) {
        requests[first].pointee.partner = second
        requests[second].pointee.partner = first
        let compare = requests[first].pointee.command
        let write = requests[second].pointee.command
        guard compare.usesSGL, compare.opcode == NVMOpcode.compare.rawValue, write.opcode == NVMOpcode.write.rawValue,
            compare.nsid == write.nsid, compare.startingLBA == write.startingLBA, compare.blockCount == write.blockCount
        else { return answer(first, .invalidField.doNotRetry) }
        guard write.usesSGL else { return answer(second, .invalidField.doNotRetry) }
        startIO(first, now: now)
        guard requests[first].pointee.partner == second else { return }
        startIO(second, now: now)
        guard requests[first].pointee.partner == second else { return }
        acquireBuffer(first, now: now)
    }

    /// Answers a queue's first half that has waited for long enough; whether there was one.
    func answerLoneHalf(of slot: UInt32, now: MonotonicTime) -> Bool {
        let first = queuePairs[slot].pointee.firstHalf
        guard first != noSlot,
            now >= requests[first].pointee.arrival.advanced(byMilliseconds: Limits.fusedMilliseconds)
        else { return false }
        answer(first, .abortedMissingFused)
        return true
    }

    /// The most that a Compare and Write may cover, in bytes.
    func fusedLimit(_ namespace: UnsafeMutablePointer<NamespaceSlot>) -> Int {
        // Both halves' data is in memory at once: of a pool that is small they may have half.
        min(Int(namespace.pointee.compareAndWriteBytes), data.commonBytes / 4)
    }

    // MARK: Memory

    /// Memory for both halves, or for neither: halves that have some and wait for more could wait for each other.
    func takeBuffers(_ first: UInt32, _ second: UInt32) -> Bool {
        guard takeOwnBuffer(first) else { return false }
        if takeOwnBuffer(second) { return true }
        giveBuffer(requests[first])
        return false
    }

    /// Both halves have their memory.
    func buffersAcquired(_ first: UInt32, _ second: UInt32, now: MonotonicTime) {
        ownBufferAcquired(first, now: now)
        if requests[first].pointee.partner == second { ownBufferAcquired(second, now: now) }
    }

    // MARK: At the device

    /// A half has its data: the operation begins when both have.
    func executeHalf(_ index: UInt32) {
        let partner = requests[index].pointee.partner
        // The other half failed while data was on its way.
        guard partner != noSlot else { return answer(index, .abortedFailedFused) }
        requests[index].pointee.isReady = true
        guard requests[partner].pointee.isReady else { return }
        beginAtBlock(requests[index].pointee.command.fusedOperation == .second ? index : partner)
    }

    /// Hands the operation to the namespace's channel; `false` when the channel is full.
    func submitPair(_ second: UInt32, _ namespace: UnsafeMutablePointer<NamespaceSlot>) -> Bool {
        let request = requests[second]
        let first = requests[request.pointee.partner]
        // The writing half has been judged by the caller.
        guard isAllowed(.compare, namespace, queuePairs[request.pointee.queuePair]) else {
            answer(request.pointee.partner, .reservationConflict.doNotRetry)
            return true
        }
        let command = request.pointee.command
        let shift = UInt64(namespace.pointee.blockShift)
        let queued = blocks.enqueue(
            BlockRequest(
                tag: tag(second), operation: .compareAndWrite,
                flags: command.isForceUnitAccess ? .forceUnitAccess : [], offset: command.startingLBA << shift,
                length: UInt64(command.blockCount) << shift, buffer: first.pointee.data,
                replacement: request.pointee.data), on: namespace.pointee.channel)
        if queued { request.pointee.runningBlockOperations = 1 }
        return queued
    }

    /// The device has done the operation, or not: says of each half how it ended.
    func pairEnded(_ second: UInt32, _ status: BlockStatus) {
        let first = requests[second].pointee.partner
        if isDead(second) { return end(second) }
        _ = separate(second)
        switch status {
        case .success:
            answer(first, .success)
            answer(second, .success)
        case .writeFault, .capacityExceeded:
            // It was equal.
            answer(first, .success)
            answer(second, Status(status, isRead: false))
        default:
            answer(first, Status(status, isRead: true))
            answer(second, .abortedFailedFused)
        }
    }

    // MARK: Ends

    /// A half is answered, or ends: the other half is on its own from here on. Returns that half.
    func separate(_ index: UInt32) -> UInt32 {
        let request = requests[index]
        let queuePair = queuePairs[request.pointee.queuePair]
        if queuePair.pointee.firstHalf == index { queuePair.pointee.firstHalf = noSlot }
        let partner = request.pointee.partner
        guard partner != noSlot else { return noSlot }
        request.pointee.partner = noSlot
        requests[partner].pointee.partner = noSlot
        return partner
    }

    /// The other half was answered with an error. What has posted READs is answered when they have ended, and what waits for
    /// something of its own when it has got that: by `executeHalf`.
    func otherHalfFailed(_ index: UInt32) {
        switch requests[index].pointee.state {
        case .received: answer(index, .abortedFailedFused)
        case .executing where requests[index].pointee.isReady: answer(index, .abortedFailedFused)
        default: break
        }
    }

    /// The other half has ended without an answer, as its queue pair is closing. What waits for something of its own ends by
    /// itself.
    func otherHalfEnded(_ index: UInt32) {
        let request = requests[index]
        switch request.pointee.state {
        case .received: end(index)
        case .executing where request.pointee.isReady && request.pointee.runningBlockOperations == 0: end(index)
        default: break
        }
    }
}
