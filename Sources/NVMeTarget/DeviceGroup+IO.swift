import Base
import BlockInterface
import NVMeSpec

/// NVM commands: checks, the way to the block device, and back.
extension DeviceGroup {
    /// A command on an I/O queue.
    func startIO(_ index: UInt32, now: MonotonicTime) {
        let request = requests[index]
        let queuePair = queuePairs[request.pointee.queuePair]
        guard let opcode = NVMOpcode(rawValue: request.pointee.command.opcode) else {
            return answer(index, .invalidOpcode.doNotRetry)
        }
        let nsid = request.pointee.command.nsid
        guard nsid != 0, nsid <= queuePair.pointee.namespaceCount, let namespaces = queuePair.pointee.namespaces,
            namespaces[Int(nsid - 1)].isPresent
        else { return answer(index, .invalidNamespaceOrFormat.doNotRetry) }
        let namespace = namespaces + Int(nsid - 1)
        request.pointee.channel = namespace.pointee.channel
        request.pointee.namespaceGeneration = namespace.pointee.generation
        takeShare(request)
        guard namespace.pointee.access.isSuccess else { return answer(index, namespace.pointee.access) }
        guard isAllowed(opcode, namespace, queuePair) else { return answer(index, .reservationConflict.doNotRetry) }
        guard !namespace.pointee.isReadOnly || !opcode.changesData else {
            return answer(index, .namespaceIsWriteProtected.doNotRetry)
        }
        switch opcode {
        case .read, .write, .compare:
            startTransfer(index, namespace, now: now)
        case .flush:
            begin(index, now: now)
        case .writeZeroes, .verify:
            guard checkRange(index, namespace) else { return }
            begin(index, now: now)
        case .datasetManagement:
            startDatasetManagement(index, now: now)
        case .reservationRegister, .reservationAcquire, .reservationRelease, .reservationReport:
            startControl(index, now: now)
        default: answer(index, .invalidOpcode.doNotRetry)
        }
    }

    /// What the namespace's reservation lets the host do (NVMe Base, "Command Behavior in the Presence of a
    /// Reservation"). Reservation commands are judged by the reservation itself.
    @inline(__always)
    func isAllowed(
        _ opcode: NVMOpcode, _ namespace: UnsafeMutablePointer<NamespaceSlot>,
        _ queuePair: UnsafeMutablePointer<QueuePairSlot>
    ) -> Bool {
        switch opcode {
        case .read, .compare, .verify: namespace.pointee.readers & queuePair.pointee.hostBit != 0
        case .write, .flush, .writeZeroes, .datasetManagement, .writeUncorrectable:
            namespace.pointee.writers & queuePair.pointee.hostBit != 0
        default: true
        }
    }

    /// Read, Write and Compare: check the range, get memory, fetch the host's data where it sends some.
    private func startTransfer(_ index: UInt32, _ namespace: UnsafeMutablePointer<NamespaceSlot>, now: MonotonicTime) {
        let request = requests[index]
        guard checkRange(index, namespace) else { return }
        let length = Int(request.pointee.command.blockCount) << Int(namespace.pointee.blockShift)
        guard length <= options.maxTransferSize else { return answer(index, .invalidField.doNotRetry) }
        guard let described = describeData(index) else { return }
        guard described == length else { return answer(index, .dataSGLLengthInvalid.doNotRetry) }
        request.pointee.dataLength = UInt32(length)
        if let data = request.pointee.data,
            UInt(bitPattern: data) % UInt(namespace.pointee.memoryAlignment) != 0
        {
            request.pointee.misaligned = data
            request.pointee.data = nil
            request.pointee.hasHostData = false
        }
        if _slowPath(request.pointee.command.isFused) {
            // The two halves get their memory together.
            if length > fusedLimit(namespace) { answer(index, .invalidField.doNotRetry) }
            return
        }
        if namespace.pointee.lends, !request.pointee.command.sendsData, borrow(index, namespace) {
            return answer(index, .success)
        }
        acquireBuffer(index, now: now)
    }

    /// Whether SLBA and NLB lie within the namespace; answers the command where not.
    private func checkRange(_ index: UInt32, _ namespace: UnsafeMutablePointer<NamespaceSlot>) -> Bool {
        let command = requests[index].pointee.command
        let (end, overflow) = command.startingLBA.addingReportingOverflow(UInt64(command.blockCount))
        guard !overflow, end <= namespace.pointee.blockCount else {
            answer(index, .lbaOutOfRange.doNotRetry)
            return false
        }
        // No namespace has protection information: PRINFO must be clear (NVM Command Set, "Protection Information").
        guard command.protectionInformation == 0 else {
            answer(index, .invalidProtectionInformation.doNotRetry)
            return false
        }
        return true
    }

    /// Dataset Management: the ranges are data from the host; a host may send more than it names.
    private func startDatasetManagement(_ index: UInt32, now: MonotonicTime) {
        let request = requests[index]
        let ranges = Int(request.pointee.command.cdw10 & 0xFF) + 1
        guard let described = describeData(index) else { return }
        guard described >= ranges * DatasetManagementRange.byteCount, described <= options.maxTransferSize else {
            return answer(index, .dataSGLLengthInvalid.doNotRetry)
        }
        request.pointee.dataLength = UInt32(described)
        acquireBuffer(index, now: now)
    }

    private func begin(_ index: UInt32, now: MonotonicTime) {
        requests[index].pointee.state.move(to: .executing)
        execute(index, now: now)
    }

    /// The request's data is here: do it.
    func execute(_ index: UInt32, now: MonotonicTime) {
        let request = requests[index]
        let command = request.pointee.command
        guard queuePairs[request.pointee.queuePair].pointee.role == .io,
            command.opcode != FabricsCommandType.opcode, !command.isReservation
        else { return owner.execute(request: index, in: self, now: now) }
        if _slowPath(command.isFused) { return executeHalf(index) }
        beginAtBlock(index)
    }

    /// Hands a request to its channel, now or when there is room.
    @inline(__always)
    func beginAtBlock(_ index: UInt32) {
        if awaitingBlock.isAwaited(requests[index].pointee.channel) || !submitToBlock(index) { awaitBlock(index) }
    }

    /// Lets a request wait for room in its channel.
    private func awaitBlock(_ index: UInt32) {
        awaitingBlock.append(index, requests[index].pointee.channel, requests.slots)
    }

    /// Hands the command to the namespace's channel; `false` when the channel is full.
    func submitToBlock(_ index: UInt32) -> Bool {
        let request = requests[index]
        let command = request.pointee.command
        let queuePair = queuePairs[request.pointee.queuePair]
        // Looked up anew: the namespace may have gone while the data was fetched, and another one may be in its place, for
        // whose blocks neither the range was checked nor the memory measured. Not to be retried: it was not meant for that.
        guard let namespace = queuePair.pointee.namespaces.map({ $0 + Int(command.nsid - 1) }),
            namespace.pointee.generation == request.pointee.namespaceGeneration
        else {
            answer(index, .invalidNamespaceOrFormat.doNotRetry)
            return true
        }
        guard namespace.pointee.channel != noSlot else {
            answer(index, .namespaceNotReady)
            return true
        }
        // Judged anew as well: the host may have been preempted meanwhile, and what is at the device cannot be taken
        // back.
        let opcode = NVMOpcode(rawValue: command.opcode)
        guard let opcode, isAllowed(opcode, namespace, queuePair) else {
            answer(index, .reservationConflict.doNotRetry)
            return true
        }
        let operation: BlockOperation
        switch opcode {
        case .read: operation = .read
        case .write where command.isFused: return submitPair(index, namespace)
        case .write: operation = .write
        case .compare: operation = .compare
        case .flush: operation = .flush
        case .writeZeroes: operation = .writeZeroes
        case .verify: operation = .verify
        case .datasetManagement: return submitRanges(index, namespace)
        default: invariantViolated("only checked commands reach the block device")
        }
        var flags: BlockFlags = command.isForceUnitAccess ? .forceUnitAccess : []
        if operation == .writeZeroes && command.mayDeallocate { flags.insert(.mayDeallocate) }
        let isRange = operation != .flush
        let shift = UInt64(namespace.pointee.blockShift)
        let queued = blocks.enqueue(
            BlockRequest(
                tag: tag(index), operation: operation, flags: flags,
                offset: isRange ? command.startingLBA << shift : 0,
                length: isRange ? UInt64(command.blockCount) << shift : 0, buffer: request.pointee.data),
            on: namespace.pointee.channel)
        if queued { request.pointee.runningBlockOperations = 1 }
        return queued
    }

    /// Hands over as many ranges of a Dataset Management command as the channel takes; `false` when it takes none and
    /// none is running.
    private func submitRanges(_ index: UInt32, _ namespace: UnsafeMutablePointer<NamespaceSlot>) -> Bool {
        let request = requests[index]
        let command = request.pointee.command
        let count = UInt16(command.cdw10 & 0xFF) + 1
        // Only Deallocate (AD) asks for something; the other attributes are hints.
        guard command.cdw11 & 1 << 2 != 0, let data = request.pointee.data else {
            answer(index, .success)
            return true
        }
        let shift = UInt64(namespace.pointee.blockShift)
        if request.pointee.nextRange == 0 {
            for position in 0..<Int(count) {
                let range = DatasetManagementRange(from: data + position * DatasetManagementRange.byteCount)
                let (end, overflow) = range.startingLBA.addingReportingOverflow(UInt64(range.blockCount))
                guard !overflow, end <= namespace.pointee.blockCount else {
                    answer(index, .lbaOutOfRange.doNotRetry)
                    return true
                }
            }
        }
        while request.pointee.nextRange < count {
            let range = DatasetManagementRange(
                from: data + Int(request.pointee.nextRange) * DatasetManagementRange.byteCount)
            if range.blockCount > 0 {
                let queued = blocks.enqueue(
                    BlockRequest(
                        tag: tag(index), operation: .deallocate, offset: range.startingLBA << shift,
                        length: UInt64(range.blockCount) << shift), on: namespace.pointee.channel)
                guard queued else { return request.pointee.runningBlockOperations > 0 }
                request.pointee.runningBlockOperations += 1
            }
            request.pointee.nextRange += 1
        }
        if request.pointee.runningBlockOperations == 0 { answer(index, .success) }
        return true
    }

    /// Asks the device to withdraw a request's operation; it then completes as aborted.
    func cancelBlockOperation(_ index: UInt32) -> Bool {
        let request = requests[index]
        let queuePair = queuePairs[request.pointee.queuePair]
        // The channel that has the operation outlasts it, whatever has become of the namespace.
        let channel = request.pointee.channel
        guard queuePair.pointee.role == .io, request.pointee.runningBlockOperations == 1, channel != noSlot else {
            return false
        }
        return blocks.cancel(tag: tag(index), on: channel)
    }

    /// The tag of a block request: which device group, which request.
    @inline(__always)
    func tag(_ index: UInt32) -> UInt64 { UInt64(self.index) << 32 | UInt64(index) }

    /// A block operation of a request ended.
    func blockOperationEnded(_ index: UInt32, _ status: BlockStatus) {
        let request = requests[index]
        invariant(request.pointee.runningBlockOperations > 0, "a block operation ends once")
        request.pointee.runningBlockOperations -= 1
        if status != .success, request.pointee.status.isSuccess {
            request.pointee.status = Status(status, isRead: !request.pointee.command.sendsData)
            if request.pointee.status.isMediaError,
                let statistics = queuePairs[request.pointee.queuePair].pointee.statistics
            {
                statistics.pointee.mediaErrors &+= 1
            }
        }
        guard request.pointee.runningBlockOperations == 0 else { return }
        if _slowPath(request.pointee.command.isFused) { return pairEnded(index, status) }
        if isDead(index) {
            end(index)
        } else if request.pointee.command.opcode == NVMOpcode.datasetManagement.rawValue,
            request.pointee.nextRange <= request.pointee.command.cdw10 & 0xFF, request.pointee.status.isSuccess
        {
            if !submitToBlock(index) { awaitBlock(index) }
        } else {
            answer(index, request.pointee.status)
        }
    }
}

extension Status {
    /// The NVMe status of a block device's answer (NVM Command Set, "Media and Data Integrity Errors").
    init(_ status: BlockStatus, isRead: Bool) {
        switch status {
        case .success: self = .success
        case .outOfRange: self = .lbaOutOfRange.doNotRetry
        case .unrecoveredReadError: self = .unrecoveredReadError
        case .writeFault: self = .writeFault
        case .capacityExceeded: self = .capacityExceeded.doNotRetry
        case .compareFailure: self = .compareFailure.doNotRetry
        case .unsupported: self = .invalidOpcode.doNotRetry
        case .writeProtected: self = .namespaceIsWriteProtected.doNotRetry
        case .deviceGone: self = .namespaceNotReady.doNotRetry
        case .aborted: self = .commandAbortRequested
        case .internalError: self = isRead ? .unrecoveredReadError : .writeFault
        }
    }
}

extension NVMOpcode {
    /// The command changes what the namespace holds.
    fileprivate var changesData: Bool {
        switch self {
        case .write, .writeZeroes, .datasetManagement, .writeUncorrectable: true
        default: false
        }
    }
}
