import Base
import BlockInterface
import NVMeSpec
import TargetInterface
import TargetTransport
import Trace

/// The steps of one request: taken up, started, its memory, its data, the device, the answer, the end.
extension CommandEngine {
    // MARK: Start

    /// Binds a request to a capsule, decodes the command, and starts it.
    func begin(_ index: RequestIndex, _ capsule: Capsule) {
        let connection = capsule.connection
        let entry = SubmissionEntry(from: capsule.bytes)
        trace.record(
            .capsuleIn, connection.position << 16 | index.position, capsule.bytes.loadUnaligned(as: UInt64.self))
        requests[index] = RequestSlot()
        requests[index].state.move(to: .received)
        requests[index].connection = connection
        requests[index].arrival = now
        requests[index].capsule = HeldCapsule(capsule)
        requests[index].header = CommandHeader(entry)
        requests[index].command = TargetCommand(entry, on: connections[connection].role)
        guard connections[connection].begin() else {
            owner.connectionFailed(
                connection, in: self, reason: "more commands than the submission queue has entries")
            return end(index)
        }
        if _slowPath(requests[index].header.isFused || !connections[connection].firstHalf.isNone) {
            return startFused(index)
        }
        startAlone(index)
    }

    /// Looks at a command that is not half of a fused operation.
    @inline(__always)
    private func startAlone(_ index: RequestIndex) {
        // NVMe-oF, Command Capsules: SGLs only, so PSDT is 01b or 10b in every capsule.
        guard requests[index].header.usesSGL else { return answer(index, .invalidField) }
        switch requests[index].command {
        case .io(let command): startIO(index, command)
        case .admin, .fabrics: startControl(index)
        case .none: answer(index, connections[requests[index].connection].refusal)
        }
    }

    /// A command of the control path: fetch the data that it sends, then let the controller do it.
    private func startControl(_ index: RequestIndex) {
        guard requests[index].header.sendsData else { return executeControl(index) }
        guard let length = describeData(index) else { return }
        guard length <= options.maxTransferSize else { return answer(index, .dataSGLLengthInvalid) }
        requests[index].transfer.measure(length)
        if length == 0 { executeControl(index) } else { acquireMemory(index) }
    }

    /// How many bytes the command's data pointer describes. Answers the command and returns `nil` when it is not one that the
    /// target accepts.
    @inline(__always)
    func describeData(_ index: RequestIndex) -> Int? {
        switch requests[index].capsule.describe(
            &requests[index].transfer, sendsData: requests[index].header.sendsData)
        {
        case .bytes(let count): return count
        case .refused(let status):
            answer(index, status)
            return nil
        }
    }

    /// A command on an I/O queue.
    @inline(__always)
    private func startIO(_ index: RequestIndex, _ command: IOCommand) {
        if case .invalid(.invalidOpcode) = command { return answer(index, .invalidOpcode) }
        let connection = requests[index].connection
        let nsid = requests[index].header.nsid
        guard connections[connection].namespaces.contains(nsid) else {
            return answer(index, connections[connection].namespaces.refusal(of: nsid))
        }
        let namespace = connections[connection].namespaces[nsid]
        requests[index].block.begin(namespace)
        if _slowPath(!capsules.share(requests[index].capsule, namespace.channel)) { setAside(index) }
        let verdict = namespace.verdict(
            on: command, of: connections[connection].host, connections[connection].access)
        guard _fastPath(verdict.isSuccess) else { return answer(index, verdict) }
        switch command {
        case .read(let range), .write(let range):
            startTransfer(index, range, namespace, counted: connections[connection].namespaces.place(of: nsid))
        case .compare(let range): startCompare(index, range, namespace)
        case .flush: beginFlush(index)
        case .writeZeroes(let range), .verify(let range):
            let verdict = namespace.verdict(on: range)
            if verdict.isSuccess { beginExecuting(index) } else { answer(index, verdict) }
        case .datasetManagement(let command): startDatasetManagement(index, command)
        case .reservationRegister, .reservationAcquire, .reservationRelease, .reservationReport: startControl(index)
        // The control path keeps it in the error log.
        case .invalid: executeControl(index)
        }
    }

    /// Read, Write and Compare: check the range, get memory, fetch the host's data where it sends some.
    @inline(__always)
    private func startTransfer(
        _ index: RequestIndex, _ range: BlockCommand, _ namespace: NamespaceSlot,
        counted place: UnsafeMutablePointer<NamespacePlace>?
    ) {
        let verdict = namespace.verdict(on: range)
        guard _fastPath(verdict.isSuccess) else { return answer(index, verdict) }
        let length = Int(range.blockCount) << Int(namespace.blockShift)
        guard length <= options.maxTransferSize else { return answer(index, .invalidField) }
        guard let described = describeData(index) else { return }
        guard described == length else { return answer(index, .dataSGLLengthInvalid) }
        requests[index].transfer.measure(length)
        requests[index].transfer.align(to: namespace.memoryAlignment)
        if _slowPath(requests[index].header.isFused) {
            // The two halves get their memory together.
            let limit = min(Int(namespace.compareAndWriteBytes), memory.fusedLimit)
            if length > limit { answer(index, .invalidField) }
            return
        }
        willCount(index, at: place)
        if namespace.lends, !requests[index].header.sendsData,
            borrow(index, offset: range.startingLBA << UInt64(namespace.blockShift), on: namespace.channel)
        {
            return
        }
        acquireMemory(index)
    }

    @inline(never)
    private func startCompare(_ index: RequestIndex, _ range: BlockCommand, _ namespace: NamespaceSlot) {
        startTransfer(index, range, namespace, counted: nil)
    }

    /// Dataset Management: the ranges are data from the host; a host may send more than it names.
    private func startDatasetManagement(_ index: RequestIndex, _ command: DatasetManagementCommand) {
        guard let described = describeData(index) else { return }
        guard described >= command.rangeCount * DatasetManagementRange.byteCount, described <= options.maxTransferSize
        else { return answer(index, .dataSGLLengthInvalid) }
        requests[index].transfer.measure(described)
        acquireMemory(index)
    }

    // MARK: Memory and data

    /// Finds the data of a read in the namespace's own memory; `false` where it has to be copied. `settleLoans` goes on with it.
    @inline(never)
    private func borrow(_ index: RequestIndex, offset: UInt64, on channel: ChannelIndex) -> Bool {
        guard lending.mayBorrow(on: channel, now) else { return false }
        if lending.isFull { settleLoans() }
        return lending.borrow(&requests[index], index, offset: offset, on: channel)
    }

    /// The request has its memory, and the other half of a fused operation too.
    @inline(__always)
    func memoryTaken(_ index: RequestIndex) {
        let partner = requests[index].pair.partner
        if _fastPath(partner.isNone) { useMemory(index) } else { bothMemoriesTaken(index, partner) }
    }

    /// The request has its memory: fetch the host's data, or execute.
    @inline(__always)
    private func useMemory(_ index: RequestIndex) {
        requests[index].transfer.copyMisaligned()
        if requests[index].header.sendsData, !requests[index].transfer.hasHostData {
            fetch(index)
        } else {
            beginExecuting(index)
        }
    }

    @inline(__always)
    private func fetch(_ index: RequestIndex) {
        guard let capsule = requests[index].capsule.bytes, let memory = requests[index].transfer.data else {
            invariantViolated("data is fetched into memory")
        }
        requests[index].state.move(to: .fetching)
        order(
            .fetch(
                Fetch(
                    index, on: requests[index].connection, shape: requests[index].capsule.shape, capsule: capsule,
                    into: memory)))
    }

    // MARK: The device

    /// The request's data is here: do it.
    @inline(__always)
    func beginExecuting(_ index: RequestIndex) {
        requests[index].state.move(to: .executing)
        guard case .io(let command) = requests[index].command, !command.isReservation else {
            return owner.execute(RequestReference(engine: self, index: index), now: now)
        }
        if _slowPath(requests[index].header.isFused) { return executeHalf(index) }
        beginAtBlock(index)
    }

    /// Hands a request to its channel, now or when there is room.
    @inline(__always)
    private func beginAtBlock(_ index: RequestIndex) {
        let isAwaited = blockIO.waiting.isAwaited(requests[index].block.channel)
        if isAwaited || !submitToBlock(index) { awaitDevice(index) }
    }

    /// Hands the command to the namespace's channel; `false` when the channel is full.
    func submitToBlock(_ index: RequestIndex) -> Bool {
        switch blockIO.submit(index, in: requests, connections[requests[index].connection]) {
        case .taken: return true
        case .full: return false
        case .ended(let status): answer(index, status)
        case .firstEnded(let status): answer(requests[index].pair.partner, status)
        }
        return true
    }

    /// A block operation of a request ended.
    @inline(__always)
    func blockOperationEnded(_ index: RequestIndex, _ status: BlockStatus) {
        if _slowPath(status != .success) {
            trace.record(.blockFailed, place(of: index), UInt64(status.rawValue))
            failed(index, status)
        }
        requests[index].block.ended()
        guard requests[index].block.running == 0 else { return }
        if _slowPath(requests[index].header.isFused) { return pairEnded(index, status) }
        if isDead(index) {
            end(index)
        } else if _slowPath(blockIO.hasMoreRanges(requests[index])) {
            if !submitToBlock(index) { awaitDevice(index) }
        } else {
            answer(index, requests[index].outcome.status)
        }
    }

    // MARK: The answer

    /// Ends a command with `status`. Data goes to the host only with a successful one.
    @inline(__always)
    func answer(_ index: RequestIndex, _ status: Status) {
        guard let place = requests[index].counted, status.isSuccess else { return answerOther(index, status) }
        answerTransfer(index, place)
    }

    /// Answers a read or a write that has succeeded.
    @inline(never)
    private func answerTransfer(_ index: RequestIndex, _ place: UnsafeMutablePointer<NamespacePlace>) {
        answerAlone(index, .success, counted: place)
    }

    /// Answers a command that is neither a read nor a write, that has failed, or that is half of a fused operation.
    @inline(never)
    private func answerOther(_ index: RequestIndex, _ status: Status) {
        if _slowPath(requests[index].header.isFused) { return answerHalf(index, status) }
        answerAlone(index, status.isSuccess ? status : RetryTable.judged(status), counted: nil)
    }

    @inline(__always)
    private func answerAlone(
        _ index: RequestIndex, _ status: Status, counted: UnsafeMutablePointer<NamespacePlace>?
    ) {
        requests[index].outcome.status = status
        let connection = requests[index].connection
        guard connections[connection].state == .live, let capsule = requests[index].capsule.bytes else {
            return end(index)
        }
        let head = connections[connection].answer()
        requests[index].state.move(to: .answering)
        let entry = CompletionEntry(
            result: requests[index].outcome.result,
            sqHead: connections[connection].flowControlDisabled ? requests[index].outcome.headOverride : head,
            sqID: connections[connection].queueID, commandID: requests[index].header.commandID, status: status)
        trace.record(.answer, place(of: index), entry.identifierAndStatus)
        var byteCount: UInt32 = 0
        if status.isSuccess, !requests[index].header.sendsData {
            byteCount = requests[index].transfer.byteCount
            if let counted { countRead(index, connection, at: counted) }
        } else if let counted {
            countWrite(index, connection, at: counted)
        }
        if counted == nil { countOther(index) }
        order(
            .answer(
                Answer(
                    index, on: connection,
                    buffer: capsules.take(&requests[index].capsule, requests[index].block.channel),
                    shape: requests[index].capsule.answerShape, capsule: capsule,
                    source: requests[index].transfer.data,
                    byteCount: byteCount, entry: entry)))
    }

    /// Gives back all that a request holds. Only when neither the transport nor a device can still touch its memory.
    func end(_ index: RequestIndex) {
        let connection = requests[index].connection
        if requests[index].state != .answering {
            returnCapsule(index)
            connections[connection].drop()
        }
        memory.give(&requests[index])
        giveBackLoan(index)
        let partner = _slowPath(requests[index].header.isFused) ? separate(index) : nil
        requests[index].state.move(to: .free)
        requests.give(index)
        connections[connection].end()
        if let partner { otherHalfEnded(partner) }
        drainIfOver(connection)
    }

    // MARK: Fused operations

    /// A command that is half of a fused operation, or that came where the second half of one should be.
    @inline(never)
    private func startFused(_ index: RequestIndex) {
        let connection = requests[index].connection
        guard connections[connection].role == .io else { return answer(index, .invalidField) }
        let first = connections[connection].takeFirstHalf()
        let arrival = FusedHalves.arrival(of: requests[index].header.fused, after: first)
        if case .pairs(let first) = arrival { return startPair(first, index) }
        if let first { answer(first, .abortedMissingFused) }
        switch arrival {
        case .alone: startAlone(index)
        case .waits:
            // For as long as `Limits.fusedMilliseconds`: its capsule's buffer is for others meanwhile.
            setAside(index)
            connections[connection].wait(index)
        case .pairs: break
        case .refused(let status): answer(index, status)
        }
    }

    private func startPair(_ first: RequestIndex, _ second: RequestIndex) {
        switch FusedHalves.join(first, second, in: requests) {
        case .refused(let half): answer(half, .invalidField)
        case .good(let compare, let write):
            startIO(first, compare)
            guard requests[first].pair.partner == second else { return }
            startIO(second, write)
            guard requests[first].pair.partner == second else { return }
            acquireMemory(first)
        }
    }

    @inline(never)
    private func bothMemoriesTaken(_ first: RequestIndex, _ second: RequestIndex) {
        useMemory(first)
        if requests[first].pair.partner == second { useMemory(second) }
    }

    /// A half has its data: the operation begins when both have.
    @inline(never)
    private func executeHalf(_ index: RequestIndex) {
        // The other half failed while data was on its way.
        guard !requests[index].pair.partner.isNone else { return answer(index, .abortedFailedFused) }
        if let second = FusedHalves.ready(index, in: requests) { beginAtBlock(second) }
    }

    /// The device has done the operation, or not: says of each half how it ended.
    @inline(never)
    private func pairEnded(_ second: RequestIndex, _ status: BlockStatus) {
        let first = requests[second].pair.partner
        if isDead(second) { return end(second) }
        _ = separate(second)
        let answers = FusedHalves.answers(status)
        answer(first, answers.first)
        answer(second, answers.second)
    }

    @inline(never)
    private func answerHalf(_ index: RequestIndex, _ status: Status) {
        let partner = separate(index)
        if status.isSuccess, case .io(.write) = requests[index].command {
            let connection = requests[index].connection
            answerTransfer(index, connections[connection].namespaces.place(of: requests[index].header.nsid))
        } else {
            answerAlone(index, status.isSuccess ? status : RetryTable.judged(status), counted: nil)
        }
        if let partner, FusedHalves.isIdle(requests[partner]) { answer(partner, .abortedFailedFused) }
    }

    /// A half is answered, or ends: the other half is on its own from here on. Returns that half.
    @inline(never)
    private func separate(_ index: RequestIndex) -> RequestIndex? {
        connections[requests[index].connection].forget(index)
        return FusedHalves.separate(index, in: requests)
    }

    /// The other half has ended without an answer, as its connection is closing. What waits for something of its own ends by
    /// itself.
    private func otherHalfEnded(_ index: RequestIndex) {
        if FusedHalves.isIdle(requests[index]), requests[index].block.running == 0 { end(index) }
    }
}
