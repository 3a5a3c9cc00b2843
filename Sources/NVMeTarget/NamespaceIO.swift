import Base
import BlockInterface
import NVMeSpec
import TargetInterface
import TargetTransport

/// Commands on their way to the block devices: the requests that are made of them, and who waits for room.
final class NamespaceIO {
    /// Its poll group's, which outlives it: each request would count a reference otherwise.
    private let blocks: Unmanaged<BlockSet>
    private let port: PortIndex
    /// A command that had to wait is judged by what the reservation says when it has its turn. (False is a bug, for tests.)
    private let judgesAgain: Bool
    /// Requests whose operation the channel had no room for.
    var waiting = ChannelWaitLists()

    /// The outcome of handing a command over.
    enum Submission {
        /// The device has it, or a part of it.
        case taken
        /// The channel is full.
        case full
        /// It ends with this status; of a fused operation's halves, the second one.
        case ended(Status)
        /// The first half of a fused operation ends with this status.
        case firstEnded(Status)
    }

    init(_ blocks: BlockSet, port: PortIndex, _ options: TargetOptions) {
        self.blocks = .passUnretained(blocks)
        self.port = port
        judgesAgain = options.deliberateDefect != .judgedOnce
    }

    // MARK: To the device

    /// Hands a command to its namespace's channel. It is judged anew: the host may have been preempted meanwhile, and what is
    /// at the device cannot be taken back.
    @inline(__always)
    func submit(
        _ index: RequestIndex, in requests: borrowing RequestTable, _ connection: ConnectionSlot
    ) -> Submission {
        let nsid = requests[index].header.nsid
        // Looked up anew: the namespace may have gone while the data was fetched, and another one may be in its place, for
        // whose blocks neither the range was checked nor the memory measured. Not to be retried: it was not meant for that.
        guard requests[index].block.isFor(connection.namespaces[nsid]) else {
            let isReplaced = connection.namespaces.contains(nsid)
            return .ended(isReplaced ? .invalidNamespaceOrFormat.doNotRetry : .invalidNamespaceOrFormat)
        }
        let namespace = connection.namespaces[nsid]
        guard !namespace.channel.isNone else { return .ended(.namespaceNotReady) }
        guard case .io(let command) = requests[index].command,
            namespace.reservation.allows(command.needs, to: connection.host) || !judgesAgain
        else { return .ended(.reservationConflict) }
        switch command {
        case .read(let range): return submit(&requests[index], index, .read, range, namespace)
        case .write(let range):
            if _slowPath(requests[index].header.isFused) {
                return submitPair(index, range, namespace, requests, connection.host)
            }
            return submit(&requests[index], index, .write, range, namespace)
        case .compare(let range): return submit(&requests[index], index, .compare, range, namespace)
        case .writeZeroes(let range): return submit(&requests[index], index, .writeZeroes, range, namespace)
        case .verify(let range): return submit(&requests[index], index, .verify, range, namespace)
        case .flush:
            let request = BlockRequest(tag: tag(index), operation: .flush)
            return enqueue(request, of: &requests[index], on: namespace.channel) ? .taken : .full
        case .datasetManagement(let command): return submitRanges(&requests[index], index, command, namespace)
        case .reservationRegister, .reservationAcquire, .reservationRelease, .reservationReport, .invalid:
            invariantViolated("only checked commands reach the block device")
        }
    }

    @inline(__always)
    private func submit(
        _ request: inout RequestSlot, _ index: RequestIndex, _ operation: BlockOperation, _ range: BlockCommand,
        _ namespace: NamespaceSlot
    ) -> Submission {
        var flags: BlockFlags = range.flags.contains(.forceUnitAccess) ? .forceUnitAccess : []
        if operation == .writeZeroes, range.flags.contains(.deallocate) { flags.insert(.mayDeallocate) }
        let shift = UInt64(namespace.blockShift)
        let block = BlockRequest(
            tag: tag(index), operation: operation, flags: flags, offset: range.startingLBA << shift,
            length: UInt64(range.blockCount) << shift, buffer: request.transfer.data)
        return enqueue(block, of: &request, on: namespace.channel) ? .taken : .full
    }

    /// A fused operation is one request, in the second half's name. The writing half has been judged by the caller.
    @inline(never)
    private func submitPair(
        _ second: RequestIndex, _ range: BlockCommand, _ namespace: NamespaceSlot, _ requests: borrowing RequestTable,
        _ host: HostIndex
    ) -> Submission {
        let first = requests[second].pair.partner
        guard namespace.reservation.allows(.read, to: host) else { return .firstEnded(.reservationConflict) }
        let shift = UInt64(namespace.blockShift)
        let block = BlockRequest(
            tag: tag(second), operation: .compareAndWrite,
            flags: range.flags.contains(.forceUnitAccess) ? .forceUnitAccess : [],
            offset: range.startingLBA << shift, length: UInt64(range.blockCount) << shift,
            buffer: requests[first].transfer.data, replacement: requests[second].transfer.data)
        return enqueue(block, of: &requests[second], on: namespace.channel) ? .taken : .full
    }

    /// Hands over as many ranges of a Dataset Management command as the channel takes.
    private func submitRanges(
        _ request: inout RequestSlot, _ index: RequestIndex, _ command: DatasetManagementCommand,
        _ namespace: NamespaceSlot
    ) -> Submission {
        // Only Deallocate (AD) asks for something; the other attributes are hints.
        guard command.attributes.contains(.deallocate), let data = request.transfer.data else {
            return .ended(.success)
        }
        if request.block.nextRange == 0 {
            let verdict = namespace.verdict(onRanges: data, count: command.rangeCount)
            guard verdict.isSuccess else { return .ended(verdict) }
        }
        let shift = UInt64(namespace.blockShift)
        while Int(request.block.nextRange) < command.rangeCount {
            let range = DatasetManagementRange(
                from: data + Int(request.block.nextRange) * DatasetManagementRange.byteCount)
            if range.blockCount > 0 {
                let block = BlockRequest(
                    tag: tag(index), operation: .deallocate, offset: range.startingLBA << shift,
                    length: UInt64(range.blockCount) << shift)
                guard enqueue(block, of: &request, on: namespace.channel) else {
                    return request.block.running > 0 ? .taken : .full
                }
            }
            request.block.rangeDone()
        }
        return request.block.running == 0 ? .ended(.success) : .taken
    }

    /// The one place where a request goes to a block device.
    @inline(__always)
    private func enqueue(
        _ block: BlockRequest, of request: inout RequestSlot, on channel: ChannelIndex
    ) -> Bool {
        guard blocks._withUnsafeGuaranteedRef({ $0.enqueue(block, on: channel) }) else { return false }
        request.block.submitted()
        return true
    }

    /// The tag of a block request: which port, which request.
    @inline(__always)
    private func tag(_ index: RequestIndex) -> UInt64 { UInt64(port.position) << 32 | UInt64(index.position) }

    /// Asks the device to withdraw a request's operation; it then completes as aborted.
    func cancel(_ index: RequestIndex, _ request: RequestSlot) -> Bool {
        // The channel that has the operation outlasts it, whatever has become of the namespace.
        guard request.block.running == 1, !request.block.channel.isNone else { return false }
        return blocks.takeUnretainedValue().cancel(tag: tag(index), on: request.block.channel)
    }

    // MARK: From the device

    /// A block operation of a request failed; `true` where that is the first failure and one of the medium. The first failure is
    /// the request's outcome.
    @inline(never)
    func failed(_ request: inout RequestSlot, _ status: BlockStatus) -> Bool {
        guard request.outcome.status.isSuccess else { return false }
        request.outcome.status = Status(status, isRead: !request.header.sendsData)
        return request.outcome.status.isMediaError
    }

    /// A Dataset Management command of which not all ranges have been handed over, and none has failed.
    @inline(__always)
    func hasMoreRanges(_ request: RequestSlot) -> Bool {
        guard case .io(.datasetManagement(let command)) = request.command else { return false }
        return Int(request.block.nextRange) < command.rangeCount && request.outcome.status.isSuccess
    }
}
