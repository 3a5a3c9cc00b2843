import Base
import FabricInterface
import InitiatorTransport
import NVMeSpec

/// From capsules to SENDs, and from completions to answers.
extension RDMAInitiator {
    public func send(_ capsules: UnsafeBufferPointer<CommandCapsule>) {
        for position in 0..<capsules.count {
            let index = capsules[position].connection
            guard connections[index].state == .live else { continue }
            if let capsule = capsules.baseAddress { post(capsule + position, &connections[index]) }
        }
    }

    /// Builds the capsule in registered memory, from where it lies: it is large, and copies of it would cost most of a command.
    @inline(__always)
    private func post(_ capsule: UnsafePointer<CommandCapsule>, _ queuePair: inout HostQueuePair) {
        guard let memory = queuePair.capsules, let device = queuePair.device else { return }
        var length = SubmissionEntry.byteCount
        var second: ScatterGatherElement?
        let bytes = memory[capsule.pointee.index]
        let data = capsule.pointee.data
        let descriptor: SGLDescriptor
        var invalidated: UInt32?
        if data.byteCount == 0 {
            descriptor = .none
        } else if _slowPath(data.first.length < data.byteCount) {
            let count = describe(data, bytes + SubmissionEntry.byteCount)
            descriptor = .lastSegmentInCapsule(offset: 0, length: UInt32(count))
            length += count
        } else if capsule.pointee.entry.sendsData, data.byteCount <= queuePair.inCapsuleBytes {
            descriptor = .inCapsule(offset: 0, length: UInt32(truncatingIfNeeded: data.byteCount))
            second = ScatterGatherElement(data.first.address, length: data.byteCount, localKey: data.first.localKey)
        } else {
            let invalidates = data.first.invalidatesKey && data.isWhole
            if invalidates { invalidated = data.first.remoteKey }
            descriptor = keyed(data.first, data.byteCount, invalidates: invalidates)
        }
        memory.expectInvalidation(of: invalidated, by: capsule.pointee.index)
        capsule.pointee.entry.store(to: bytes)
        descriptor.store(to: bytes + SubmissionEntry.dataPointerOffset)
        queuePair.sends += 1
        var flags: WorkFlags = .signaled
        if second == nil, length <= queuePair.inlineBytes { flags.insert(.inline) }
        let work = WorkRequest(
            id: HostWork.send(capsule.pointee.connection, capsule.pointee.index).id, queuePair: queuePair.handle,
            opcode: .send,
            flags: flags,
            segment: ScatterGatherElement(bytes, length: length, localKey: memory.localKey), second: second)
        device._withUnsafeGuaranteedRef { $0.work.post(work) }
    }

    @inline(__always)
    private func keyed(_ piece: IOSegment, _ bytes: Int, invalidates: Bool) -> SGLDescriptor {
        .keyed(
            address: UInt64(UInt(bitPattern: piece.address)), length: UInt32(truncatingIfNeeded: bytes),
            key: piece.remoteKey, invalidate: invalidates)
    }

    /// Writes the descriptors of scattered data to `list`; returns their bytes.
    private func describe(_ data: CommandData, _ list: UnsafeMutableRawPointer) -> Int {
        var left = data.byteCount
        var piece = data.first
        var next = data.further
        var count = 0
        while true {
            let length = min(piece.length, left)
            keyed(piece, length, invalidates: false).store(to: list + count * SGLDescriptor.byteCount)
            count += 1
            left -= length
            guard left > 0, let further = next else { break }
            invariant(count < HostLimits.descriptors, "a command has no more pieces than its limits say")
            piece = further.pointee
            next = further + 1
        }
        return count * SGLDescriptor.byteCount
    }

    // MARK: Completions

    @inline(__always)
    func postReceive(_ index: HostConnectionIndex, _ queuePair: inout HostQueuePair, _ buffer: Int) {
        guard let memory = queuePair.capsules, let device = queuePair.device else { return }
        let request = ReceiveRequest(
            id: HostWork.receive(index, buffer: buffer).id,
            segment: ScatterGatherElement(
                memory.answer(buffer), length: CompletionEntry.byteCount, localKey: memory.localKey))
        queuePair.receives += 1
        device._withUnsafeGuaranteedRef { $0.work.post(request, to: queuePair.handle) }
    }

    @inline(__always)
    func handle(_ completion: WorkCompletion) {
        switch HostWork(completion.id) {
        case .receive(let index, let buffer):
            connections.check(index)
            received(completion, index, &connections[index], buffer)
        case .send(let index, let command):
            connections.check(index)
            sent(completion, index, &connections[index], command)
        }
    }

    /// An answer arrived, or a receive buffer came back.
    @inline(__always)
    private func received(
        _ completion: WorkCompletion, _ index: HostConnectionIndex, _ queuePair: inout HostQueuePair, _ buffer: Int
    ) {
        queuePair.receives -= 1
        guard completion.status == .success else { return workFailed(index, &queuePair, completion) }
        // An answer that was on its way when the connection failed is still an answer; a liar's is not.
        guard !queuePair.isDistrusted, let memory = queuePair.capsules else { return }
        guard Int(completion.byteCount) == CompletionEntry.byteCount else {
            return distrust(
                index, &queuePair, "the controller sent \(completion.byteCount) bytes where a completion has 16")
        }
        let answer = CompletionEntry(from: memory.answer(buffer))
        if queuePair.state == .live, !queuePair.hasFailed { postReceive(index, &queuePair, buffer) }
        if _slowPath(completion.invalidated) {
            let command = CommandIdentifier.index(of: answer.commandID)
            guard command.offset < queuePair.depth, memory.isExpected(completion.invalidatedKey, by: command) else {
                return distrust(
                    index, &queuePair,
                    "the controller invalidated a key that it was not asked to (\(completion.invalidatedKey))")
            }
        }
        arrivals.append(CommandEvent(answered: answer, index))
    }

    /// A capsule's memory is ours again.
    @inline(__always)
    private func sent(
        _ completion: WorkCompletion, _ index: HostConnectionIndex, _ queuePair: inout HostQueuePair,
        _ command: CommandIndex
    ) {
        queuePair.sends -= 1
        guard completion.status == .success else { return workFailed(index, &queuePair, completion) }
        arrivals.append(CommandEvent(released: command, index))
    }

    /// Ends a connection whose controller breaks the rules; nothing that it says is believed from here on.
    private func distrust(_ index: HostConnectionIndex, _ queuePair: inout HostQueuePair, _ reason: String) {
        queuePair.isDistrusted = true
        fail(index, &queuePair, reason)
    }

    /// Work ended in failure: the queue pair is in the error state. Work that was only flushed says nothing new, but that
    /// a queue pair we take for a good one is not.
    private func workFailed(
        _ index: HostConnectionIndex, _ queuePair: inout HostQueuePair, _ completion: WorkCompletion
    ) {
        fail(index, &queuePair, "work on the queue pair failed: \(completion.status) (\(completion.vendorStatus))")
    }
}
