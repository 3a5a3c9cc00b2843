import Base
import FabricInterface
import NVMeSpec

/// From the arrival of a capsule to a request that has its data.
extension DeviceGroup {
    /// A capsule arrived, or a receive buffer came back unused.
    func received(_ completion: WorkCompletion, now: MonotonicTime) {
        let receive = UInt32(truncatingIfNeeded: completion.id)
        guard completion.status == .success, let slot = slot(of: completion.queuePair),
            queuePairs[slot].pointee.state != .closing
        else {
            repostReceive(receive)
            return
        }
        guard completion.byteCount >= SubmissionEntry.byteCount else {
            repostReceive(receive)
            owner.queuePairFailed(
                slot, in: self, reason: "a command capsule of \(completion.byteCount) bytes; 64 is the least")
            return
        }
        queuePairs[slot].pointee.commandsSinceReport &+= 1
        // Behind those that came before: the halves of a fused operation follow each other.
        if _fastPath(queuePairs[slot].pointee.role == .io) {
            guard lateIO.isEmpty, let request = takeRequestForIO() else { return lateIO.append(completion) }
            begin(request, slot: slot, receive: receive, byteCount: completion.byteCount, now: now)
        } else {
            guard lateControl.isEmpty, let request = requests.take() else { return lateControl.append(completion) }
            begin(request, slot: slot, receive: receive, byteCount: completion.byteCount, now: now)
        }
    }

    @inline(__always)
    private func takeRequestForIO() -> UInt32? { requests.available > reservedRequests ? requests.take() : nil }

    /// Takes up a capsule that has waited for a request.
    private func beginLate(_ completion: WorkCompletion, now: MonotonicTime) {
        let receive = UInt32(truncatingIfNeeded: completion.id)
        // Closing a queue pair drops its capsules.
        guard let slot = slot(of: completion.queuePair), let request = requests.take() else {
            return repostReceive(receive)
        }
        begin(request, slot: slot, receive: receive, byteCount: completion.byteCount, now: now)
    }

    /// Gives back the buffers of a queue pair's capsules that no request has taken up: its number may be another's by
    /// then.
    func dropLateCapsules(of handle: QueuePairHandle) {
        lateIO.removeAll(of: handle) { repostReceive(UInt32(truncatingIfNeeded: $0.id)) }
        lateControl.removeAll(of: handle) { repostReceive(UInt32(truncatingIfNeeded: $0.id)) }
    }

    /// Binds a request to a capsule and starts it.
    private func begin(_ index: UInt32, slot: UInt32, receive: UInt32, byteCount: UInt32, now: MonotonicTime) {
        let queuePair = queuePairs[slot]
        let request = requests[index]
        request.pointee = RequestSlot()
        request.pointee.state.move(to: .received)
        request.pointee.queuePair = slot
        request.pointee.receive = receive
        heldReceives += 1
        request.pointee.arrival = now
        request.pointee.capsuleDataLength = byteCount - UInt32(SubmissionEntry.byteCount)
        request.pointee.command = SubmissionEntry(from: capsule(receive))
        queuePair.pointee.requests += 1
        queuePair.pointee.unanswered += 1
        guard queuePair.pointee.unanswered <= queuePair.pointee.entries else {
            owner.queuePairFailed(slot, in: self, reason: "more commands than the submission queue has entries")
            end(index)
            return
        }
        if queuePair.pointee.state == .accepted {
            queuePair.pointee.early.append(index, requests.slots)
        } else {
            start(index, now: now)
        }
    }

    /// The connection is established: what came before is looked at now.
    func established(_ slot: UInt32, now: MonotonicTime) {
        queuePairs[slot].pointee.state.move(to: .live)
        while let index = queuePairs[slot].pointee.early.removeFirst(requests.slots) {
            if queuePairs[slot].pointee.state == .live { start(index, now: now) } else { end(index) }
        }
    }

    /// Looks at a command for the first time.
    private func start(_ index: UInt32, now: MonotonicTime) {
        let request = requests[index]
        let queuePair = queuePairs[request.pointee.queuePair]
        if _slowPath(request.pointee.command.isFused || queuePair.pointee.firstHalf != noSlot) {
            return startFused(index, now: now)
        }
        startAlone(index, now: now)
    }

    /// Looks at a command that is not half of a fused operation.
    func startAlone(_ index: UInt32, now: MonotonicTime) {
        let request = requests[index]
        let command = request.pointee.command
        let role = queuePairs[request.pointee.queuePair].pointee.role
        // NVMe-oF, Command Capsules: SGLs only, so PSDT is 01b or 10b in every capsule.
        guard command.usesSGL else { return answer(index, .invalidField.doNotRetry) }
        if command.opcode == FabricsCommandType.opcode {
            startControl(index, now: now)
        } else {
            switch role {
            case .io: startIO(index, now: now)
            case .admin: startControl(index, now: now)
            case .unconnected: answer(index, .commandSequenceError.doNotRetry)
            }
        }
    }

    /// A fabrics or admin command: fetch the data that it sends, then let the controller do it.
    func startControl(_ index: UInt32, now: MonotonicTime) {
        let request = requests[index]
        guard request.pointee.command.sendsData else {
            request.pointee.state.move(to: .executing)
            owner.execute(request: index, in: self, now: now)
            return
        }
        guard let length = describeData(index) else { return }
        guard length <= options.maxTransferSize else { return answer(index, .dataSGLLengthInvalid.doNotRetry) }
        request.pointee.dataLength = UInt32(length)
        if length == 0 {
            request.pointee.state.move(to: .executing)
            owner.execute(request: index, in: self, now: now)
        } else {
            acquireBuffer(index, now: now)
        }
    }

    /// Decodes the command's SGL against what arrived. Returns the bytes that it describes; answers the command and
    /// returns `nil` when it is not one that the target accepts.
    func describeData(_ index: UInt32) -> Int? {
        let request = requests[index]
        let capsule = capsule(of: request)
        switch SGLDescriptor(request.pointee.command.dataPointer) {
        case .none:
            return 0
        case .keyed(let address, let length, let key, let invalidate):
            request.pointee.descriptor = KeyedDescriptor(
                address: address, length: length, key: key, invalidate: invalidate)
            request.pointee.descriptorCount = length == 0 ? 0 : 1
            return Int(length)
        case .inCapsule(let offset, let length):
            let (end, overflow) = offset.addingReportingOverflow(UInt64(length))
            guard !overflow, end <= UInt64(request.pointee.capsuleDataLength) else {
                answer(index, .sglOffsetInvalid.doNotRetry)
                return nil
            }
            guard request.pointee.command.sendsData else {
                answer(index, .sglDescriptorTypeInvalid.doNotRetry)
                return nil
            }
            request.pointee.data = capsule + SubmissionEntry.byteCount + Int(offset)
            request.pointee.dataKey = capsuleKey
            request.pointee.hasHostData = true
            return Int(length)
        case .lastSegmentInCapsule(let offset, let length):
            return describeSegment(index, offset: offset, length: length)
        case .invalid(let status):
            answer(index, status.doNotRetry)
            return nil
        }
    }

    /// A last segment in the capsule: a list of keyed descriptors.
    private func describeSegment(_ index: UInt32, offset: UInt64, length: UInt32) -> Int? {
        let request = requests[index]
        let count = Int(length) / SGLDescriptor.byteCount
        let (end, overflow) = offset.addingReportingOverflow(UInt64(length))
        guard !overflow, end <= UInt64(request.pointee.capsuleDataLength), offset % 16 == 0 else {
            answer(index, .invalidSGLSegmentDescriptor.doNotRetry)
            return nil
        }
        guard count > 0, Int(length) % SGLDescriptor.byteCount == 0, count <= maxDescriptors else {
            answer(index, .invalidNumberOfSGLDescriptors.doNotRetry)
            return nil
        }
        let list = UnsafeRawPointer(capsule(of: request)) + SubmissionEntry.byteCount + Int(offset)
        var total = 0
        for position in 0..<count {
            guard
                case .keyed(let address, let length, let key, let invalidate) =
                    SGLDescriptor(from: list + position * SGLDescriptor.byteCount), length > 0
            else {
                answer(index, .sglDescriptorTypeInvalid.doNotRetry)
                return nil
            }
            if position == 0 {
                request.pointee.descriptor = KeyedDescriptor(
                    address: address, length: length, key: key, invalidate: invalidate)
            }
            total += Int(length)
        }
        request.pointee.descriptorCount = UInt8(count)
        request.pointee.segmentOffset = UInt32(offset)
        return total
    }

    /// The host's memory of a request, by position. The capsule was checked by `describeData`.
    @inline(__always)
    func descriptor(_ position: UInt8, of request: UnsafeMutablePointer<RequestSlot>) -> KeyedDescriptor {
        if position == 0 { return request.pointee.descriptor }
        let list =
            UnsafeRawPointer(capsule(of: request)) + SubmissionEntry.byteCount + Int(request.pointee.segmentOffset)
        guard
            case .keyed(let address, let length, let key, let invalidate) =
                SGLDescriptor(from: list + Int(position) * SGLDescriptor.byteCount)
        else { invariantViolated("a checked descriptor list does not change") }
        return KeyedDescriptor(address: address, length: length, key: key, invalidate: invalidate)
    }

    /// Starts what waited for a request slot, for memory, or for the block device.
    func retryWaiting(now: MonotonicTime) {
        while requests.available > 0, let completion = lateControl.removeFirst() { beginLate(completion, now: now) }
        while requests.available > reservedRequests, let completion = lateIO.removeFirst() {
            beginLate(completion, now: now)
        }
        if !awaitingBuffer.isEmpty {
            for list in 0..<awaitingBuffer.channelCount { retryBuffer(list, now: now) }
        }
        guard !awaitingBlock.isEmpty else { return }
        for channel in 0..<awaitingBlock.channelCount { retryBlock(channel) }
    }

    private func retryBuffer(_ list: Int, now: MonotonicTime) {
        while let index = awaitingBuffer.removeFirst(list, requests.slots) {
            if isDead(index) {
                end(index)
            } else if takeBuffer(index) {
                bufferAcquired(index, now: now)
            } else {
                return awaitingBuffer.prepend(index, list, requests.slots)
            }
        }
    }

    private func retryBlock(_ channel: Int) {
        while let index = awaitingBlock.removeFirst(channel, requests.slots) {
            if isDead(index) {
                end(index)
            } else if !submitToBlock(index) {
                return awaitingBlock.prepend(index, channel, requests.slots)
            }
        }
    }

    /// The queue pair is closing: no answer will be sent.
    @inline(__always)
    func isDead(_ index: UInt32) -> Bool {
        queuePairs[requests[index].pointee.queuePair].pointee.state == .closing
    }
}
