import Base
import BlockInterface
import NVMeSpec
import TargetTransport
import Trace

/// NVM commands: checks, the way to the block device, and back.
extension CommandEngine {
    /// A command on an I/O queue.
    @inline(__always)
    func startIO(_ index: RequestIndex, _ command: IOCommand) {
        if case .invalid(.invalidOpcode) = command { return answer(index, .invalidOpcode.doNotRetry) }
        let connection = requests[index].connection
        let nsid = requests[index].header.nsid
        guard connections[connection].namespaces.contains(nsid) else {
            // A reload may have taken it away for a moment, where there can be one.
            let canBe = connections[connection].namespaces.hasPlace(for: nsid)
            return answer(index, canBe ? .invalidNamespaceOrFormat : .invalidNamespaceOrFormat.doNotRetry)
        }
        let namespace = connections[connection].namespaces[nsid]
        requests[index].block.channel = namespace.channel
        requests[index].block.generation = namespace.generation
        takeShare(index)
        guard namespace.access.isSuccess else { return answer(index, namespace.access) }
        let needs = command.needs
        guard isAllowed(needs, namespace, connection) else {
            return answer(index, .reservationConflict.doNotRetry)
        }
        guard !namespace.isReadOnly || !command.changesData else {
            return answer(index, .namespaceIsWriteProtected.doNotRetry)
        }
        switch command {
        case .read(let range), .write(let range), .compare(let range): startTransfer(index, range, namespace)
        case .flush: begin(index)
        case .writeZeroes(let range), .verify(let range):
            if checkRange(index, range, namespace) { begin(index) }
        case .datasetManagement(let command): startDatasetManagement(index, command)
        case .reservationRegister, .reservationAcquire, .reservationRelease, .reservationReport: startControl(index)
        // The control path keeps it in the error log.
        case .invalid: executeControl(index)
        }
    }

    /// Whether the namespace's reservation lets the host do something (NVMe Base, "Command Behavior in the Presence of a
    /// Reservation").
    @inline(__always)
    func isAllowed(_ needs: IOCommand.Access, _ namespace: NamespaceSlot, _ connection: ConnectionIndex) -> Bool {
        switch needs {
        case .none: true
        case .read: namespace.readers & connections[connection].hostBit != 0
        case .write: namespace.writers & connections[connection].hostBit != 0
        }
    }

    /// Read, Write and Compare: check the range, get memory, fetch the host's data where it sends some.
    @inline(__always)
    private func startTransfer(_ index: RequestIndex, _ range: BlockCommand, _ namespace: NamespaceSlot) {
        guard checkRange(index, range, namespace) else { return }
        let length = Int(range.blockCount) << Int(namespace.blockShift)
        guard length <= options.maxTransferSize else { return answer(index, .invalidField.doNotRetry) }
        guard let described = describeData(index) else { return }
        guard described == length else { return answer(index, .dataSGLLengthInvalid.doNotRetry) }
        requests[index].transfer.byteCount = UInt32(length)
        if let data = requests[index].transfer.data,
            UInt(bitPattern: data) % UInt(namespace.memoryAlignment) != 0
        {
            requests[index].transfer.misaligned = data
            requests[index].transfer.data = nil
            requests[index].transfer.hasHostData = false
        }
        if _slowPath(requests[index].header.isFused) {
            // The two halves get their memory together.
            if length > fusedLimit(namespace) { answer(index, .invalidField.doNotRetry) }
            return
        }
        if namespace.lends, !requests[index].header.sendsData,
            borrow(index, offset: range.startingLBA << UInt64(namespace.blockShift), on: namespace.channel)
        {
            return
        }
        acquireBuffer(index)
    }

    /// Whether SLBA and NLB lie within the namespace; answers the command where not.
    @inline(__always)
    private func checkRange(_ index: RequestIndex, _ range: BlockCommand, _ namespace: NamespaceSlot) -> Bool {
        let (end, overflow) = range.startingLBA.addingReportingOverflow(UInt64(range.blockCount))
        guard !overflow, end <= namespace.blockCount else {
            answer(index, .lbaOutOfRange.doNotRetry)
            return false
        }
        // No namespace has protection information: PRINFO must be clear (NVM Command Set, "Protection Information").
        guard range.flags.isDisjoint(with: .protectionInformation) else {
            answer(index, .invalidProtectionInformation.doNotRetry)
            return false
        }
        return true
    }

    /// Dataset Management: the ranges are data from the host; a host may send more than it names.
    private func startDatasetManagement(_ index: RequestIndex, _ command: DatasetManagementCommand) {
        guard let described = describeData(index) else { return }
        guard described >= command.rangeCount * DatasetManagementRange.byteCount, described <= options.maxTransferSize
        else { return answer(index, .dataSGLLengthInvalid.doNotRetry) }
        requests[index].transfer.byteCount = UInt32(described)
        acquireBuffer(index)
    }

    @inline(__always)
    private func begin(_ index: RequestIndex) {
        requests[index].state.move(to: .executing)
        execute(index)
    }

    /// The request's data is here: do it.
    @inline(__always)
    func execute(_ index: RequestIndex) {
        guard case .io(let command) = requests[index].command, !command.isReservation else {
            return owner.execute(RequestReference(engine: self, index: index), now: now)
        }
        if _slowPath(requests[index].header.isFused) { return executeHalf(index) }
        beginAtBlock(index)
    }

    /// Hands a request to its channel, now or when there is room.
    @inline(__always)
    func beginAtBlock(_ index: RequestIndex) {
        if awaitingBlock.isAwaited(requests[index].block.channel) || !submitToBlock(index) { awaitBlock(index) }
    }

    /// Lets a request wait for room in its channel.
    private func awaitBlock(_ index: RequestIndex) {
        awaitingBlock.append(index, requests[index].block.channel, in: requests)
    }

    /// Hands the command to the namespace's channel; `false` when the channel is full.
    func submitToBlock(_ index: RequestIndex) -> Bool {
        let connection = requests[index].connection
        let nsid = requests[index].header.nsid
        // Looked up anew: the namespace may have gone while the data was fetched, and another one may be in its place, for
        // whose blocks neither the range was checked nor the memory measured. Not to be retried: it was not meant for that.
        guard connections[connection].namespaces[nsid].generation == requests[index].block.generation else {
            let isReplaced = connections[connection].namespaces.contains(nsid)
            answer(index, isReplaced ? .invalidNamespaceOrFormat.doNotRetry : .invalidNamespaceOrFormat)
            return true
        }
        let namespace = connections[connection].namespaces[nsid]
        guard !namespace.channel.isNone else {
            answer(index, .namespaceNotReady)
            return true
        }
        // Judged anew as well: the host may have been preempted meanwhile, and what is at the device cannot be taken
        // back.
        guard case .io(let command) = requests[index].command, isAllowed(command.needs, namespace, connection) else {
            answer(index, .reservationConflict.doNotRetry)
            return true
        }
        switch command {
        case .read(let range): return submit(index, .read, range, namespace)
        case .write(let range):
            if _slowPath(requests[index].header.isFused) { return submitPair(index, range, namespace) }
            return submit(index, .write, range, namespace)
        case .compare(let range): return submit(index, .compare, range, namespace)
        case .writeZeroes(let range): return submit(index, .writeZeroes, range, namespace)
        case .verify(let range): return submit(index, .verify, range, namespace)
        case .flush: return enqueue(index, BlockRequest(tag: tag(index), operation: .flush), on: namespace.channel)
        case .datasetManagement(let command): return submitRanges(index, command, namespace)
        case .reservationRegister, .reservationAcquire, .reservationRelease, .reservationReport, .invalid:
            invariantViolated("only checked commands reach the block device")
        }
    }

    @inline(__always)
    private func submit(
        _ index: RequestIndex, _ operation: BlockOperation, _ range: BlockCommand, _ namespace: NamespaceSlot
    ) -> Bool {
        var flags: BlockFlags = range.flags.contains(.forceUnitAccess) ? .forceUnitAccess : []
        if operation == .writeZeroes, range.flags.contains(.deallocate) { flags.insert(.mayDeallocate) }
        let shift = UInt64(namespace.blockShift)
        return enqueue(
            index,
            BlockRequest(
                tag: tag(index), operation: operation, flags: flags, offset: range.startingLBA << shift,
                length: UInt64(range.blockCount) << shift, buffer: requests[index].transfer.data),
            on: namespace.channel)
    }

    /// The one place where a request goes to a block device.
    @inline(__always)
    func enqueue(_ index: RequestIndex, _ request: BlockRequest, on channel: ChannelIndex) -> Bool {
        guard blocks.enqueue(request, on: channel) else { return false }
        trace.record(.blockSubmit, index.position, request.offset)
        requests[index].block.running += 1
        return true
    }

    /// Hands over as many ranges of a Dataset Management command as the channel takes; `false` when it takes none and
    /// none is running.
    private func submitRanges(
        _ index: RequestIndex, _ command: DatasetManagementCommand, _ namespace: NamespaceSlot
    ) -> Bool {
        // Only Deallocate (AD) asks for something; the other attributes are hints.
        guard command.attributes.contains(.deallocate), let data = requests[index].transfer.data else {
            answer(index, .success)
            return true
        }
        if requests[index].block.nextRange == 0 {
            for position in 0..<command.rangeCount {
                let range = DatasetManagementRange(from: data + position * DatasetManagementRange.byteCount)
                let (end, overflow) = range.startingLBA.addingReportingOverflow(UInt64(range.blockCount))
                guard !overflow, end <= namespace.blockCount else {
                    answer(index, .lbaOutOfRange.doNotRetry)
                    return true
                }
            }
        }
        let shift = UInt64(namespace.blockShift)
        while Int(requests[index].block.nextRange) < command.rangeCount {
            let range = DatasetManagementRange(
                from: data + Int(requests[index].block.nextRange) * DatasetManagementRange.byteCount)
            if range.blockCount > 0 {
                let request = BlockRequest(
                    tag: tag(index), operation: .deallocate, offset: range.startingLBA << shift,
                    length: UInt64(range.blockCount) << shift)
                guard enqueue(index, request, on: namespace.channel) else { return requests[index].block.running > 0 }
            }
            requests[index].block.nextRange += 1
        }
        if requests[index].block.running == 0 { answer(index, .success) }
        return true
    }

    /// Asks the device to withdraw a request's operation; it then completes as aborted.
    func cancelBlockOperation(_ index: RequestIndex) -> Bool {
        // The channel that has the operation outlasts it, whatever has become of the namespace.
        let channel = requests[index].block.channel
        guard connections[requests[index].connection].role == .io, requests[index].block.running == 1, !channel.isNone
        else { return false }
        return blocks.cancel(tag: tag(index), on: channel)
    }

    /// The tag of a block request: which port, which request.
    @inline(__always)
    func tag(_ index: RequestIndex) -> UInt64 { UInt64(self.index.position) << 32 | UInt64(index.position) }

    /// A block operation of a request ended.
    @inline(__always)
    func blockOperationEnded(_ index: RequestIndex, _ status: BlockStatus) {
        invariant(requests[index].block.running > 0, "a block operation ends once")
        requests[index].block.running -= 1
        if _slowPath(status != .success), requests[index].outcome.status.isSuccess {
            requests[index].outcome.status = Status(status, isRead: !requests[index].header.sendsData)
            if requests[index].outcome.status.isMediaError { count(index) { $0.mediaErrors &+= 1 } }
        }
        guard requests[index].block.running == 0 else { return }
        if _slowPath(requests[index].header.isFused) { return pairEnded(index, status) }
        if isDead(index) {
            end(index)
        } else if _slowPath(hasMoreRanges(index)) {
            if !submitToBlock(index) { awaitBlock(index) }
        } else {
            answer(index, requests[index].outcome.status)
        }
    }

    /// A Dataset Management command of which not all ranges have been handed over, and none has failed.
    @inline(__always)
    private func hasMoreRanges(_ index: RequestIndex) -> Bool {
        guard case .io(.datasetManagement(let command)) = requests[index].command else { return false }
        return Int(requests[index].block.nextRange) < command.rangeCount && requests[index].outcome.status.isSuccess
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
        // Hosts ask for the state of the path, and try this one or another again.
        case .unavailable: self = .asymmetricAccessInaccessible
        case .fenced: self = .asymmetricAccessPersistentLoss
        case .aborted: self = .commandAbortRequested
        case .internalError: self = isRead ? .unrecoveredReadError : .writeFault
        }
    }
}

extension IOCommand {
    /// The access that a reservation has to allow.
    enum Access {
        case none
        case read
        case write
    }

    /// Reservation commands are judged by the reservation itself.
    @inline(__always)
    var needs: Access {
        switch self {
        case .read, .compare, .verify: .read
        case .write, .flush, .writeZeroes, .datasetManagement: .write
        case .reservationRegister, .reservationReport, .reservationAcquire, .reservationRelease, .invalid: .none
        }
    }

    /// The command changes what the namespace holds.
    @inline(__always)
    fileprivate var changesData: Bool {
        switch self {
        case .write, .writeZeroes, .datasetManagement: true
        default: false
        }
    }

    /// A command that the control path executes: one of reservations.
    @inline(__always)
    fileprivate var isReservation: Bool {
        switch self {
        case .reservationRegister, .reservationReport, .reservationAcquire, .reservationRelease, .invalid: true
        default: false
        }
    }
}

extension BlockCommandFlags {
    /// Protection Information Field (PRINFO).
    fileprivate static var protectionInformation: BlockCommandFlags {
        BlockCommandFlags(rawValue: 0x3C00)
    }
}
