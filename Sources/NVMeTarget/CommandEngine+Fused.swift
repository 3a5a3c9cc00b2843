import Base
import BlockInterface
import Buffers
import NVMeSpec
import TargetTransport

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
extension CommandEngine {
    /// A command that is half of a fused operation, or that came where the second half of one should be.
    @inline(never)
    func startFused(_ index: RequestIndex) {
        let connection = requests[index].connection
        guard connections[connection].role == .io else { return answer(index, .invalidField.doNotRetry) }
        let first = connections[connection].firstHalf.ifAny
        connections[connection].firstHalf = .none
        let operation = requests[index].header.fused
        if operation == .second, let first { return startPair(first, index) }
        if let first { answer(first, .abortedMissingFused) }
        switch operation {
        case .none: startAlone(index)
        case .first:
            // For as long as `Limits.fusedMilliseconds`: its capsule's buffer is for others meanwhile.
            setAside(index)
            connections[connection].firstHalf = index
        case .second: answer(index, .abortedMissingFused)
        case .reserved: answer(index, .invalidField.doNotRetry)
        }
    }

    private func startPair(_ first: RequestIndex, _ second: RequestIndex) {
        requests[first].pair.partner = second
        requests[second].pair.partner = first
        guard requests[first].header.usesSGL, requests[first].header.nsid == requests[second].header.nsid,
            case .io(let compare) = requests[first].command, case .compare(let compared) = compare,
            case .io(let write) = requests[second].command, case .write(let written) = write,
            compared.startingLBA == written.startingLBA, compared.blockCount == written.blockCount
        else { return answer(first, .invalidField.doNotRetry) }
        guard requests[second].header.usesSGL else { return answer(second, .invalidField.doNotRetry) }
        startIO(first, compare)
        guard requests[first].pair.partner == second else { return }
        startIO(second, write)
        guard requests[first].pair.partner == second else { return }
        acquireBuffer(first)
    }

    /// Answers a queue's first half that has waited for long enough; whether there was one.
    func answerLoneHalf(of connection: ConnectionIndex, now: MonotonicTime) -> Bool {
        guard let first = connections[connection].firstHalf.ifAny,
            now >= requests[first].arrival.advanced(byMilliseconds: Limits.fusedMilliseconds)
        else { return false }
        answer(first, .abortedMissingFused)
        return true
    }

    /// The most that a Compare and Write may cover, in bytes.
    func fusedLimit(_ namespace: NamespaceSlot) -> Int {
        // Both halves' data is in memory at once: of a pool that is small they may have half.
        min(Int(namespace.compareAndWriteBytes), data.commonBytes / 4)
    }

    // MARK: Memory

    /// Memory for both halves, or for neither: halves that have some and wait for more could wait for each other.
    @inline(never)
    func takeBuffers(_ first: RequestIndex, _ second: RequestIndex) -> Bool {
        guard takeOwnBuffer(first) else { return false }
        if takeOwnBuffer(second) { return true }
        giveBuffer(first)
        return false
    }

    /// Both halves have their memory.
    @inline(never)
    func buffersAcquired(_ first: RequestIndex, _ second: RequestIndex) {
        ownBufferAcquired(first)
        if requests[first].pair.partner == second { ownBufferAcquired(second) }
    }

    // MARK: At the device

    /// A half has its data: the operation begins when both have.
    @inline(never)
    func executeHalf(_ index: RequestIndex) {
        // The other half failed while data was on its way.
        guard let partner = requests[index].pair.partner.ifAny else { return answer(index, .abortedFailedFused) }
        requests[index].pair.isReady = true
        guard requests[partner].pair.isReady else { return }
        beginAtBlock(requests[index].header.fused == .second ? index : partner)
    }

    /// Hands the operation to the namespace's channel; `false` when the channel is full.
    @inline(never)
    func submitPair(_ second: RequestIndex, _ range: BlockCommand, _ namespace: NamespaceSlot) -> Bool {
        let first = requests[second].pair.partner
        // The writing half has been judged by the caller.
        guard isAllowed(.read, namespace, requests[second].connection) else {
            answer(first, .reservationConflict.doNotRetry)
            return true
        }
        let shift = UInt64(namespace.blockShift)
        return enqueue(
            second,
            BlockRequest(
                tag: tag(second), operation: .compareAndWrite,
                flags: range.flags.contains(.forceUnitAccess) ? .forceUnitAccess : [],
                offset: range.startingLBA << shift, length: UInt64(range.blockCount) << shift,
                buffer: requests[first].transfer.data, replacement: requests[second].transfer.data),
            on: namespace.channel)
    }

    /// The device has done the operation, or not: says of each half how it ended.
    @inline(never)
    func pairEnded(_ second: RequestIndex, _ status: BlockStatus) {
        let first = requests[second].pair.partner
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
    @inline(never)
    func separate(_ index: RequestIndex) -> RequestIndex? {
        let connection = requests[index].connection
        if connections[connection].firstHalf == index { connections[connection].firstHalf = .none }
        guard let partner = requests[index].pair.partner.ifAny else { return nil }
        requests[index].pair.partner = .none
        requests[partner].pair.partner = .none
        return partner
    }

    /// The other half was answered with an error. What is being fetched is answered when that has ended, and what waits for
    /// memory when it has got that: by `executeHalf`.
    func otherHalfFailed(_ index: RequestIndex) {
        switch requests[index].state {
        case .received: answer(index, .abortedFailedFused)
        case .executing where requests[index].pair.isReady: answer(index, .abortedFailedFused)
        default: break
        }
    }

    /// The other half has ended without an answer, as its connection is closing. What waits for something of its own ends by
    /// itself.
    func otherHalfEnded(_ index: RequestIndex) {
        switch requests[index].state {
        case .received: end(index)
        case .executing where requests[index].pair.isReady && requests[index].block.running == 0: end(index)
        default: break
        }
    }
}
