import Base
import NVMeSpec

/// What "preempt and abort" asks of one device group.
extension DeviceGroup {
    /// Ends commands of `victims` to a namespace that have not reached the block device.
    func abortWaiting(nsid: UInt32, of victims: UInt64, in namespaces: UnsafeMutablePointer<NamespaceSlot>) {
        for index in 0..<UInt32(requests.usedCount) where concerns(index, nsid, victims, namespaces) {
            let queuePair = queuePairs[requests[index].pointee.queuePair]
            let withdrawn =
                switch requests[index].pointee.state {
                case .awaitingBuffer: awaitingBuffer.remove(index, requests.slots)
                case .awaitingRead: queuePair.pointee.awaitingRead.remove(index, requests.slots)
                case .executing: awaitingBlock.remove(index, requests.slots)
                default: false
                }
            if withdrawn { answer(index, .abortedPreemptAndAbort.doNotRetry) }
        }
    }

    /// A command of `victims` is at the block device. One whose data is still being fetched is not counted: it is
    /// judged again before it gets there.
    func isRunning(nsid: UInt32, of victims: UInt64, in namespaces: UnsafeMutablePointer<NamespaceSlot>) -> Bool {
        for index in 0..<UInt32(requests.usedCount) where concerns(index, nsid, victims, namespaces) {
            if requests[index].pointee.state == .executing { return true }
        }
        return false
    }

    private func concerns(
        _ index: UInt32, _ nsid: UInt32, _ victims: UInt64, _ namespaces: UnsafeMutablePointer<NamespaceSlot>
    ) -> Bool {
        let request = requests[index]
        guard request.pointee.state != .free, request.pointee.command.nsid == nsid else { return false }
        let queuePair = queuePairs[request.pointee.queuePair]
        return queuePair.pointee.namespaces == namespaces && queuePair.pointee.hostBit & victims != 0
    }
}
