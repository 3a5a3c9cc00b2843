import Base
import NVMeSpec
import Synchronization

/// A command for a controller, off the I/O path.
struct ControlRequest {
    let reference: RequestReference
    let controller: Controller
    /// The time of the round.
    let now: MonotonicTime

    var nsid: UInt32 { reference.nsid }
}

/// How a control command ends.
enum ControlReply {
    /// Success, and nothing to say.
    case done
    /// Success, with this in dwords 0 and 1.
    case result(UInt64)
    case refused(Status)
    /// Bytes of a page from `offset` on; zeroes follow where the host has asked for more. Only what lies in that window is made.
    case page(DataPage, offset: Int, length: Int)
    /// It is answered later.
    case later
}

extension RequestReference {
    /// Answers the command.
    ///
    /// - Parameter controller: the one that keeps errors in its log, if there is one.
    func finish(_ reply: ControlReply, _ controller: Controller?) {
        switch reply {
        case .done: answer(.success)
        case .result(let value):
            setResult(value)
            answer(.success)
        case .refused(let status): fail(status, controller)
        // A page is written by `PageAnswers`.
        case .page, .later: break
        }
    }

    /// Answers with an error, and keeps it in the controller's error log.
    private func fail(_ refusal: Status, _ controller: Controller?) {
        let status = RetryTable.judged(refusal)
        let (queueID, commandID, nsid) = (queue.queueID, commandID, nsid)
        controller?.state.withLock {
            $0.errorLog.record(queueID: queueID, commandID: commandID, status: status, lba: 0, nsid: nsid)
        }
        answer(status)
    }
}
