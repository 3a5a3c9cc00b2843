import Base
import FabricInterface
import NVMeSpec

/// From completions of the fabric to the end of commands and operations.
extension DeviceGroup {
    /// An answer arrived, or a receive buffer came back.
    func received(_ completion: WorkCompletion, _ slot: UInt32, _ index: UInt32) {
        let queuePair = queuePairs + Int(slot)
        queuePair.pointee.receives -= 1
        guard completion.status == .success else { return workFailed(slot, completion) }
        // An answer that was on its way when the connection failed is still an answer; a liar's is not.
        guard !queuePair.pointee.isDistrusted else { return }
        guard Int(completion.byteCount) == CompletionEntry.byteCount else {
            return distrust(slot, "the controller sent \(completion.byteCount) bytes where a completion has 16")
        }
        let entry = CompletionEntry(from: queuePair.pointee.responses + Int(index) * CompletionEntry.byteCount)
        if queuePair.pointee.state == .live, !queuePair.pointee.hasFailed { postReceive(slot, index) }
        let position = CommandIdentifier.index(of: entry.commandID)
        guard position < Int(queuePair.pointee.depth) else {
            return distrust(slot, "the controller completed a command that does not exist (\(entry.commandID))")
        }
        let request = queuePair.pointee.requests + position
        guard request.pointee.state == .posted || request.pointee.state == .sent,
            CommandIdentifier.generation(of: entry.commandID)
                == request.pointee.generation & CommandIdentifier.generationMask
        else {
            return distrust(slot, "the controller completed a command that is not under way (\(entry.commandID))")
        }
        if completion.invalidated,
            !request.pointee.invalidates || completion.invalidatedKey != request.pointee.key
        {
            return distrust(
                slot, "the controller invalidated a key that it was not asked to (\(completion.invalidatedKey))")
        }
        request.pointee.status = entry.status
        request.pointee.result = entry.result
        queuePair.pointee.table.pointee.answers &+= 1
        if request.pointee.state == .sent {
            finish(UInt32(position), queuePair)
        } else {
            request.pointee.state.move(to: .answered)
        }
    }

    /// A capsule's memory is ours again.
    func sent(_ completion: WorkCompletion, _ slot: UInt32, _ index: UInt32) {
        let queuePair = queuePairs + Int(slot)
        queuePair.pointee.sends -= 1
        guard completion.status == .success else { return workFailed(slot, completion) }
        let request = queuePair.pointee.requests + Int(index)
        switch request.pointee.state {
        case .posted: request.pointee.state.move(to: .sent)
        case .answered: if !queuePair.pointee.isDistrusted { finish(index, queuePair) }
        case .free, .sent: invariantViolated("a SEND completes once, while its command is under way")
        }
    }

    /// Ends a queue pair whose controller breaks the rules; nothing that it says is believed from here on.
    private func distrust(_ slot: UInt32, _ reason: String) {
        queuePairs[Int(slot)].isDistrusted = true
        fail(slot, reason)
    }

    /// Work ended in failure: the queue pair is in the error state. Work that was only flushed says nothing new, but that
    /// a queue pair we take for a good one is not.
    private func workFailed(_ slot: UInt32, _ completion: WorkCompletion) {
        guard queuePairs[Int(slot)].state == .live else { return }
        fail(slot, "work on the queue pair failed: \(completion.status) (\(completion.vendorStatus))")
    }

    /// Both ends of a command have come: it is done, and perhaps its operation.
    @inline(__always)
    private func finish(_ index: UInt32, _ queuePair: UnsafeMutablePointer<QueuePairSlot>) {
        let request = queuePair.pointee.requests + Int(index)
        let table = queuePair.pointee.table!
        let operation = table.pointee.slots + Int(request.pointee.operation)
        let status = request.pointee.status
        request.pointee.state.move(to: .free)
        queuePair.pointee.freeRequests[Int(queuePair.pointee.freeCount)] = index
        queuePair.pointee.freeCount += 1
        operation.pointee.commands -= 1
        operation.pointee.result = request.pointee.result
        if !status.isSuccess {
            // The half of a fused operation that was aborted says less than the half that failed.
            if operation.pointee.status.isSuccess || operation.pointee.status.matches(.abortedFailedFused) {
                operation.pointee.status = status
            }
            operation.pointee.hasFailed = true
        }
        if operation.pointee.commands == 0, operation.pointee.state == .issued {
            table.pointee.conclude(request.pointee.operation, now: now)
        }
    }
}
