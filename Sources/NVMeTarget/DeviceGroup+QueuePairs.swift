import Base
import FabricInterface
import NVMeSpec

/// Queue pair slots: taken when a host is admitted, given back when nothing refers to them any more.
extension DeviceGroup {
    /// Fills a slot for a queue pair that is about to be accepted.
    func bind(
        _ slot: UInt32, _ handle: QueuePairHandle, _ connection: ConnectionHandle, _ parameters: RDMAConnectRequest,
        entries: Int, sends: Int, readDepth: Int, now: MonotonicTime
    ) {
        invariant(Int(handle.index) < handleCapacity, "a fabric numbers its queue pairs densely")
        let queuePair = queuePairs[slot]
        let generation = queuePair.pointee.generation &+ 1
        queuePair.pointee = QueuePairSlot()
        queuePair.pointee.generation = generation
        queuePair.pointee.state.move(to: .accepted)
        queuePair.pointee.awaitsConnectSince = now
        queuePair.pointee.lastProgress = now
        queuePair.pointee.handle = handle
        queuePair.pointee.connection = connection
        queuePair.pointee.queueID = parameters.queueID
        queuePair.pointee.entries = UInt32(entries)
        queuePair.pointee.sendEntries = Int32(sends)
        queuePair.pointee.sendsAvailable = Int32(sends)
        queuePair.pointee.readsAvailable = Int32(readDepth)
        queuePair.pointee.readDepth = Int32(readDepth)
        if context.inlineDataLimit(of: handle) >= CompletionEntry.byteCount {
            queuePair.pointee.answerFlags.insert(.inline)
        }
        queuePair.pointee.remoteInvalidate = options.sendWithInvalidate && context.limits.supportsSendWithInvalidate
        slotOfHandle[Int(handle.index)] = slot
        boundSlots.append(slot)
    }

    /// Frees a slot. Its queue pair is destroyed by the caller.
    func unbind(_ slot: UInt32) {
        let queuePair = queuePairs[slot]
        if !queuePair.pointee.isDestroyed { slotOfHandle[Int(queuePair.pointee.handle.index)] = noSlot }
        if queuePair.pointee.state != .closing { queuePair.pointee.state.move(to: .closing) }
        queuePair.pointee.state.move(to: .free)
        queuePair.pointee.generation &+= 1
        boundSlots.removeAll { $0 == slot }
        queuePairs.give(slot)
    }

    /// A closing queue pair has been destroyed although its work had not completed.
    func destroyed(_ slot: UInt32) {
        let queuePair = queuePairs[slot]
        slotOfHandle[Int(queuePair.pointee.handle.index)] = noSlot
        queuePair.pointee.isDestroyed = true
        endPosted(of: slot)
    }

    /// Why a queue pair cannot be kept any longer, if so.
    func expiry(of slot: UInt32, now: MonotonicTime) -> String? {
        let queuePair = queuePairs[slot]
        switch queuePair.pointee.state {
        case .free, .closing: return nil
        case .accepted, .live:
            if queuePair.pointee.role == .unconnected,
                now >= queuePair.pointee.awaitsConnectSince.advanced(byMilliseconds: Limits.connectMilliseconds)
            {
                return "the host has not sent Connect"
            }
            return isStalled(slot, now: now) ? "the host takes no answers" : nil
        }
    }

    /// Whether posted work of a queue pair has not moved for so long that its host cannot be waited for any more.
    private func isStalled(_ slot: UInt32, now: MonotonicTime) -> Bool {
        let queuePair = queuePairs[slot]
        guard queuePair.pointee.state == .live else { return false }
        if queuePair.pointee.endedWork != queuePair.pointee.endedWorkSeen
            || queuePair.pointee.sendsAvailable == queuePair.pointee.sendEntries
        {
            queuePair.pointee.endedWorkSeen = queuePair.pointee.endedWork
            queuePair.pointee.lastProgress = now
            return false
        }
        return now >= queuePair.pointee.lastProgress.advanced(byMilliseconds: Limits.stalledMilliseconds)
    }
}
