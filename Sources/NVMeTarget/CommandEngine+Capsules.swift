import Base
import NVMeSpec
import TargetTransport
import Trace

/// From the arrival of a capsule to a request that has its data.
extension CommandEngine {
    /// A capsule arrived.
    @inline(__always)
    func arrived(_ capsule: Capsule) {
        heldCapsules += 1
        let connection = capsule.connection
        guard connections[connection].state == .live else { return giveBack(capsule) }
        connections[connection].commandsSinceReport &+= 1
        // Behind those that came before: the halves of a fused operation follow each other.
        if _fastPath(connections[connection].role == .io) {
            guard lateIO.isEmpty, requests.available > reservedRequests, let request = requests.take() else {
                return lateIO.append(capsule)
            }
            begin(request, capsule)
        } else {
            guard lateControl.isEmpty, let request = requests.take() else { return lateControl.append(capsule) }
            begin(request, capsule)
        }
    }

    /// Takes up a capsule that has waited for a request. Closing a connection drops its capsules.
    func beginLate(_ capsule: Capsule) {
        guard let request = requests.take() else { return giveBack(capsule) }
        begin(request, capsule)
    }

    func giveBack(_ capsule: Capsule) {
        heldCapsules -= 1
        order(.giveBack(capsule.buffer))
    }

    /// Binds a request to a capsule, decodes the command, and starts it.
    private func begin(_ index: RequestIndex, _ capsule: Capsule) {
        let connection = capsule.connection
        let entry = SubmissionEntry(from: capsule.bytes)
        trace.record(
            .capsuleIn, connection.position << 16 | index.position, capsule.bytes.loadUnaligned(as: UInt64.self))
        requests[index] = RequestSlot()
        requests[index].state.move(to: .received)
        requests[index].connection = connection
        requests[index].arrival = now
        requests[index].capsule.buffer = capsule.buffer
        requests[index].capsule.dataLength = capsule.dataLength
        requests[index].capsule.bytes = capsule.bytes
        requests[index].capsule.shape = capsule.shape
        requests[index].header = CommandHeader(entry)
        requests[index].command = TargetCommand(entry, on: connections[connection].role)
        connections[connection].requests += 1
        connections[connection].unanswered += 1
        // An answer that is ordered may still wait for room: there are no more of those, and of answers that have arrived while
        // the device has not said so, than a send queue of twice as many entries holds.
        let entries = connections[connection].entries
        guard connections[connection].unanswered <= entries, connections[connection].requests <= entries * 3 + 256
        else {
            owner.connectionFailed(
                connection, in: self, reason: "more commands than the submission queue has entries")
            return end(index)
        }
        start(index)
    }

    /// Looks at a command for the first time.
    @inline(__always)
    private func start(_ index: RequestIndex) {
        if _slowPath(
            requests[index].header.isFused || !connections[requests[index].connection].firstHalf.isNone)
        {
            return startFused(index)
        }
        startAlone(index)
    }

    /// Looks at a command that is not half of a fused operation.
    @inline(__always)
    func startAlone(_ index: RequestIndex) {
        // NVMe-oF, Command Capsules: SGLs only, so PSDT is 01b or 10b in every capsule.
        guard requests[index].header.usesSGL else { return answer(index, .invalidField.doNotRetry) }
        switch requests[index].command {
        case .io(let command): startIO(index, command)
        case .admin, .fabrics: startControl(index)
        case .none: answer(index, .commandSequenceError.doNotRetry)
        }
    }

    /// A command of the control path: fetch the data that it sends, then let the controller do it.
    func startControl(_ index: RequestIndex) {
        guard requests[index].header.sendsData else { return executeControl(index) }
        guard let length = describeData(index) else { return }
        guard length <= options.maxTransferSize else { return answer(index, .dataSGLLengthInvalid.doNotRetry) }
        requests[index].transfer.byteCount = UInt32(length)
        if length == 0 { executeControl(index) } else { acquireBuffer(index) }
    }

    func executeControl(_ index: RequestIndex) {
        requests[index].state.move(to: .executing)
        owner.execute(RequestReference(engine: self, index: index), now: now)
    }

    /// How many bytes the command's data pointer describes. Answers the command and returns `nil` when it is not one that the
    /// target accepts.
    @inline(__always)
    func describeData(_ index: RequestIndex) -> Int? {
        requests[index].capsule.usesShape = true
        let shape = requests[index].capsule.shape
        switch shape.place {
        case .none: return 0
        case .host: return Int(shape.byteCount)
        case .capsule:
            guard requests[index].header.sendsData, let bytes = requests[index].capsule.bytes else {
                return refuseShape(index, .sglDescriptorTypeInvalid)
            }
            requests[index].transfer.data = bytes + Int(shape.offset)
            requests[index].transfer.hasHostData = true
            return Int(shape.byteCount)
        case .invalid: return refuseShape(index, shape.status)
        }
    }

    @inline(never)
    private func refuseShape(_ index: RequestIndex, _ status: Status) -> Int? {
        requests[index].capsule.usesShape = false
        answer(index, status.doNotRetry)
        return nil
    }
}
