import Base
import NVMeSpec
import TargetTransport

/// The part of "preempt and abort" that one engine does.
extension CommandEngine {
    /// Commands of some hosts to one namespace.
    struct Victims {
        let nsid: UInt32
        let hosts: UInt64
        let namespaces: NamespaceTable
    }

    /// Ends commands of `victims` that have not reached the block device.
    func abortWaiting(_ victims: Victims) {
        for index in requests.usedIndices where concerns(index, victims) {
            let isWithdrawn =
                switch requests[index].state {
                case .awaitingBuffer: awaitingBuffer.remove(index, in: requests)
                case .fetching: withdrawFetch(index)
                case .executing: awaitingBlock.remove(index, in: requests)
                default: false
                }
            if isWithdrawn { answer(index, .abortedPreemptAndAbort.doNotRetry) }
        }
    }

    /// A command of `victims` is at the block device. One whose data is still being fetched is not counted: it is
    /// judged again before it gets there.
    func isRunning(_ victims: Victims) -> Bool {
        for index in requests.usedIndices where concerns(index, victims) {
            if requests[index].state == .executing { return true }
        }
        return false
    }

    private func concerns(_ index: RequestIndex, _ victims: Victims) -> Bool {
        guard requests[index].state != .free, requests[index].header.nsid == victims.nsid else { return false }
        let connection = requests[index].connection
        return connections[connection].namespaces == victims.namespaces
            && connections[connection].hostBit & victims.hosts != 0
    }

    /// Withdraws a command that has not started; `true` when it was, and is answered. `release` takes an Asynchronous Event
    /// Request out of its queue.
    func abort(
        _ commandID: UInt16, on connection: ConnectionIndex, release: (RequestReference) -> Bool
    ) -> Bool {
        for index in requests.usedIndices {
            guard requests[index].state != .free, requests[index].connection == connection,
                requests[index].header.commandID == commandID
            else { continue }
            switch requests[index].state {
            case .awaitingBuffer where awaitingBuffer.remove(index, in: requests): break
            case .fetching where withdrawFetch(index): break
            case .executing where awaitingBlock.remove(index, in: requests): break
            case .executing: return cancelBlockOperation(index)
            case .received where connections[connection].firstHalf == index: break
            case .held where release(RequestReference(engine: self, index: index)): break
            default: return false
            }
            answer(index, .commandAbortRequested)
            return true
        }
        return false
    }
}
