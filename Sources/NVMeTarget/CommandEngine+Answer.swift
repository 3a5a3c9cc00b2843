import Base
import NVMeSpec
import TargetTransport
import Trace

/// The answer to a command, and the end of a request.
extension CommandEngine {
    /// Ends a command with `status`. Data goes to the host only with a successful one.
    @inline(__always)
    func answer(_ index: RequestIndex, _ status: Status) {
        guard _slowPath(requests[index].header.isFused) else { return answerAlone(index, status) }
        answerHalf(index, status)
    }

    @inline(never)
    private func answerHalf(_ index: RequestIndex, _ status: Status) {
        let partner = separate(index)
        answerAlone(index, status)
        if let partner { otherHalfFailed(partner) }
    }

    private func answerAlone(_ index: RequestIndex, _ answer: Status) {
        let status = _fastPath(answer.isSuccess) ? answer : RetryTable.judged(answer)
        requests[index].outcome.status = status
        let connection = requests[index].connection
        guard connections[connection].state == .live, let capsule = requests[index].capsule.bytes else {
            return end(index)
        }
        let sendsData = status.isSuccess && !requests[index].header.sendsData
        let head = nextHead(connection)
        connections[connection].sqHead = head
        connections[connection].unanswered -= 1
        requests[index].state.move(to: .answering)
        trace.record(
            .answer, connection.position << 16 | index.position,
            UInt64(requests[index].header.commandID) << 32 | UInt64(status.field) << 48)
        order(
            .answer(
                Answer(
                    index, on: connection, buffer: forgetCapsule(index),
                    shape: requests[index].capsule.usesShape ? requests[index].capsule.shape : DataShape(),
                    capsule: capsule, source: requests[index].transfer.data,
                    byteCount: sendsData ? requests[index].transfer.byteCount : 0,
                    entry: CompletionEntry(
                        result: requests[index].outcome.result,
                        sqHead: connections[connection].flowControlDisabled
                            ? requests[index].outcome.headOverride : head,
                        sqID: connections[connection].queueID, commandID: requests[index].header.commandID,
                        status: status))))
        countAnswer(index, connection)
    }

    @inline(__always)
    private func nextHead(_ connection: ConnectionIndex) -> UInt16 {
        let next = UInt32(connections[connection].sqHead) + 1
        return next >= connections[connection].entries ? 0 : UInt16(truncatingIfNeeded: next)
    }

    /// The answer has left, or never will: the request is over.
    @inline(__always)
    func answered(_ index: RequestIndex, hasWaited: Bool) {
        if _slowPath(hasWaited) { count(index) { $0.waitsForSendQueue &+= 1 } }
        end(index)
    }

    /// Gives back all that a request holds. Only when neither the transport nor a device can still touch its memory.
    func end(_ index: RequestIndex) {
        let connection = requests[index].connection
        if requests[index].state != .answering {
            returnCapsule(index)
            connections[connection].unanswered -= 1
        }
        giveBuffer(index)
        giveBackLoan(index)
        let partner = _slowPath(requests[index].header.isFused) ? separate(index) : nil
        requests[index].state.move(to: .free)
        requests.give(index)
        connections[connection].requests -= 1
        if let partner { otherHalfEnded(partner) }
        if connections[connection].requests == 0, connections[connection].state == .closing { drained(connection) }
    }

    @inline(__always)
    private func countAnswer(_ index: RequestIndex, _ connection: ConnectionIndex) {
        guard connections[connection].role == .io, let statistics = connections[connection].statistics else { return }
        let nanoseconds = now.nanoseconds(since: requests[index].arrival)
        let bytes = UInt64(requests[index].transfer.byteCount)
        let isSuccess = requests[index].outcome.status.isSuccess
        statistics.update { counters in
            counters.serviceNanoseconds &+= nanoseconds
            guard isSuccess else {
                counters.failedCommands &+= 1
                return
            }
            switch requests[index].command {
            case .io(.read):
                counters.readCommands &+= 1
                counters.bytesRead &+= bytes
            case .io(.write):
                counters.writeCommands &+= 1
                counters.bytesWritten &+= bytes
            default: counters.otherCommands &+= 1
            }
        }
    }
}
