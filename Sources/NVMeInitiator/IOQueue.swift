import Base
import FabricInterface
import NVMeSpec

/// One I/O queue of a controller, on one reactor.
///
/// `submit` and the completion sink belong to the reactor's thread; the `async` calls may be used from anywhere. The queue
/// outlives connections: what happens to its operations when one is lost, `ControllerOptions.recovery` says.
public final class IOQueue: @unchecked Sendable {
    /// The reactor's group that this queue belongs to.
    public let group: InitiatorGroup
    let table: UnsafeMutablePointer<OperationTable>
    /// Takes the completions of `submit`.
    public var sink: CompletionSink?
    /// The queue pair, while there is one.
    var reference: QueuePairReference?
    /// QID of the connection.
    var queueID: UInt16 = 0
    /// While the connection is being ended.
    var closing: Task<Void, Never>?
    /// Why the connection broke before `open` knew of it.
    var earlyFailure: String?
    /// Why the connection was lost, for errors.
    var lossReason = "there is no connection"
    /// Operations wait for the next connection when this one is lost.
    var keepsOperations = false
    /// What operations are told that end with the connection.
    var endFailure = IOFailure.connectionLost
    /// The domain of the device that the operations' memory is registered with.
    private var lastDomain: UInt?
    private var waiters: [UInt64: Waiter] = [:]
    private var nextWaiter: UInt64 = 0

    private struct Waiter {
        var tag: UInt64
        var continuation: CheckedContinuation<IOCompletion, Never>
    }

    init(group: InitiatorGroup, operations: Int, namespaces: Int) {
        self.group = group
        table = .allocate(capacity: 1)
        table.initialize(to: OperationTable(operations: max(operations, 1), namespaces: namespaces))
    }

    deinit {
        table.pointee.deallocate()
        table.deallocate()
    }

    // MARK: Submission

    /// Accepts an operation; its completion goes to `sink`. Allocates nothing and makes no system call: its commands leave
    /// with the group's next poll, all at once.
    public func submit(_ operation: IOOperation) -> SubmitResult {
        enqueue(operation, tag: operation.tag, isAwaited: false)
    }

    /// Operations that have been accepted and have not completed.
    public var operationsInUse: Int { table.pointee.inUse }

    /// Whether commands can leave now.
    public var isLive: Bool { table.pointee.isLive }

    /// The device that this queue's connection uses, to register memory with; `nil` without a connection. On the
    /// reactor's thread.
    public var context: FabricContext? { reference.map { group.devices[$0.device].context } }

    /// A number for the device that operations' memory must be registered with: that of the connection, or of the last one
    /// while there is none; -1 before the first one. On the reactor's thread.
    public var deviceNumber: Int { table.pointee.device }

    /// Does an operation and waits for its end. For the control plane: `submit` costs a hundredth of it.
    public func perform(_ operation: IOOperation) async -> IOCompletion {
        await withTaskExecutorPreference(group.executor) {
            await withCheckedContinuation { continuation in
                let waiter = self.addWaiter(operation.tag, continuation)
                let failure: IOFailure
                switch self.enqueue(operation, tag: waiter, isAwaited: true) {
                case .accepted: return
                case .full: failure = .full
                case .notConnected: failure = .notConnected
                case .invalid: failure = .invalid
                case .unsupported: failure = .unsupported
                }
                self.waiters[waiter] = nil
                continuation.resume(
                    returning: IOCompletion(
                        tag: operation.tag, outcome: .surelyNotDone, failure: failure, status: .success, result: 0))
            }
        }
    }

    private func addWaiter(_ tag: UInt64, _ continuation: CheckedContinuation<IOCompletion, Never>) -> UInt64 {
        nextWaiter += 1
        waiters[nextWaiter] = Waiter(tag: tag, continuation: continuation)
        return nextWaiter
    }

    @inline(__always)
    private func enqueue(_ operation: IOOperation, tag: UInt64, isAwaited: Bool) -> SubmitResult {
        guard table.pointee.isOpen else { return .notConnected }
        guard operation.namespace >= 0, operation.namespace < table.pointee.namespaceCapacity else { return .invalid }
        let namespace = table.pointee.namespaces + operation.namespace
        guard namespace.pointee.isPresent, isSound(operation, namespace) else { return .invalid }
        guard table.pointee.limits.optional.include(operation.kind) else { return .unsupported }
        guard let index = table.pointee.take() else { return .full }
        let slot = table.pointee.slots + Int(index)
        slot.pointee = OperationSlot()
        slot.pointee.kind = operation.kind
        slot.pointee.isAwaited = isAwaited
        slot.pointee.tag = tag
        slot.pointee.blockShift = namespace.pointee.blockShift
        slot.pointee.boundary = namespace.pointee.boundary
        slot.pointee.template = template(operation, namespace)
        slot.pointee.startingLBA = operation.startingLBA
        let isSingle = operation.kind == .flush || operation.kind == .deallocate
        slot.pointee.blockCount = isSingle ? 1 : operation.blockCount
        slot.pointee.segments = operation.segments
        slot.pointee.segmentCount = UInt32(truncatingIfNeeded: operation.segmentCount)
        slot.pointee.data = operation.data
        slot.pointee.second = operation.second
        slot.pointee.rewind()
        append(index, timeoutMilliseconds: operation.timeoutMilliseconds)
        return .accepted
    }

    @inline(__always)
    private func append(_ index: UInt32, timeoutMilliseconds: UInt32) {
        let slot = table.pointee.slots + Int(index)
        let timeout = timeoutMilliseconds > 0 ? timeoutMilliseconds : table.pointee.defaultTimeoutMilliseconds
        if timeout > 0 {
            slot.pointee.deadline = group.now.advanced(byMilliseconds: UInt64(timeout))
            table.pointee.earliestDeadline = min(table.pointee.earliestDeadline, slot.pointee.deadline)
        }
        slot.pointee.state.move(to: .pending)
        table.pointee.pending.append(index, table.pointee.slots)
    }

    /// Whether the operation's lengths fit together.
    @inline(__always)
    private func isSound(_ operation: IOOperation, _ namespace: UnsafeMutablePointer<NamespaceSlot>) -> Bool {
        let shift = UInt64(namespace.pointee.blockShift)
        let (bytes, overflow) = operation.blockCount.multipliedReportingOverflow(by: UInt64(1) << shift)
        let (_, wraps) = operation.startingLBA.addingReportingOverflow(operation.blockCount)
        switch operation.kind {
        case .flush: return true
        case .writeZeroes, .verify: return operation.blockCount > 0 && !wraps
        case .deallocate:
            guard let data = operation.data, (1...256).contains(operation.blockCount) else { return false }
            return data.length >= Int(operation.blockCount) * DatasetManagementRange.byteCount
        case .compareAndWrite:
            guard let data = operation.data, let second = operation.second, operation.blockCount > 0, !wraps,
                bytes <= table.pointee.limits.maxBytes, operation.blockCount <= 65536
            else { return false }
            return !overflow && data.length == Int(bytes) && second.length == Int(bytes)
        case .read, .write, .compare:
            guard operation.blockCount > 0, !overflow, !wraps, bytes <= UInt64(Int.max) else { return false }
            if let data = operation.data, operation.segments == nil { return data.length == Int(bytes) }
            return segmentsAreSound(operation, Int(bytes), blockMask: (1 << Int(shift)) - 1)
        }
    }

    /// Pieces add up to the operation's length, and none of them ends within a block, unless all go into one command.
    private func segmentsAreSound(_ operation: IOOperation, _ bytes: Int, blockMask: Int) -> Bool {
        guard let segments = operation.segments, operation.segmentCount > 0 else { return false }
        var left = bytes
        var isAligned = true
        for position in 0..<operation.segmentCount {
            let length = segments[position].length
            guard length > 0, length <= left else { return false }
            left -= length
            if length & blockMask != 0 { isAligned = false }
        }
        let fitsOne =
            operation.segmentCount <= table.pointee.limits.maxDescriptors
            && UInt64(bytes) <= table.pointee.limits.maxBytes
        return left == 0 && (isAligned || fitsOne)
    }

    @inline(__always)
    private func template(_ operation: IOOperation, _ namespace: UnsafeMutablePointer<NamespaceSlot>)
        -> SubmissionEntry
    {
        var entry = SubmissionEntry()
        entry.flags = SubmissionEntry.sglFlags
        entry.nsid = namespace.pointee.nsid
        switch operation.kind {
        case .read: entry.opcode = NVMOpcode.read.rawValue
        case .write, .compareAndWrite: entry.opcode = NVMOpcode.write.rawValue
        case .flush: entry.opcode = NVMOpcode.flush.rawValue
        case .compare: entry.opcode = NVMOpcode.compare.rawValue
        case .writeZeroes: entry.opcode = NVMOpcode.writeZeroes.rawValue
        case .verify: entry.opcode = NVMOpcode.verify.rawValue
        case .deallocate:
            entry.opcode = NVMOpcode.datasetManagement.rawValue
            entry.cdw10 = UInt32(truncatingIfNeeded: operation.blockCount - 1)
            entry.cdw11 = UInt32(DatasetManagementAttributes.deallocate.rawValue)
        }
        if operation.flags.contains(.forceUnitAccess) { entry.cdw12 |= 1 << 30 }
        if operation.flags.contains(.mayDeallocate), operation.kind == .writeZeroes,
            namespace.pointee.mayDeallocateZeroes
        {
            entry.cdw12 |= 1 << 25
        }
        return entry
    }

    // MARK: Commands

    /// Sends one command as it is and waits for its end. On the reactor's thread.
    ///
    /// - Parameter atOnce: past everything that waits, also before the queue is live: Connect.
    func perform(
        _ command: SubmissionEntry, data: IOSegment?, timeoutMilliseconds: UInt32, atOnce: Bool = false
    ) async -> IOCompletion {
        await withCheckedContinuation { continuation in
            guard atOnce ? reference != nil : table.pointee.isOpen, let index = table.pointee.take(forControl: true)
            else {
                let failure: IOFailure = table.pointee.isOpen ? .full : .notConnected
                continuation.resume(
                    returning: IOCompletion(
                        tag: 0, outcome: .surelyNotDone, failure: failure, status: .success, result: 0))
                return
            }
            let slot = table.pointee.slots + Int(index)
            slot.pointee = OperationSlot()
            slot.pointee.isCommand = true
            slot.pointee.isAwaited = true
            slot.pointee.tag = addWaiter(0, continuation)
            slot.pointee.template = command
            slot.pointee.data = data
            slot.pointee.blockCount = 1
            slot.pointee.rewind()
            if atOnce, let reference {
                slot.pointee.deadline = group.now.advanced(byMilliseconds: UInt64(timeoutMilliseconds))
                table.pointee.earliestDeadline = min(table.pointee.earliestDeadline, slot.pointee.deadline)
                slot.pointee.state.move(to: .pending)
                group.devices[reference.device].issueAtOnce(index, reference.slot)
            } else {
                append(index, timeoutMilliseconds: timeoutMilliseconds)
                if timeoutMilliseconds == 0 { slot.pointee.deadline = .distantFuture }
            }
        }
    }

    // MARK: Rounds

    /// Delivers the completions of this round; returns how many.
    func deliver() -> Int {
        let count = table.pointee.completionCount
        if count > 0 {
            // The sink submits new operations; none completes before the next round, so the memory stays as it is.
            sink?.completed(UnsafeBufferPointer(start: table.pointee.completions, count: count))
            table.pointee.completionCount = 0
        }
        let awaited = table.pointee.awaitedCount
        if awaited > 0 {
            for position in 0..<awaited {
                var completion = table.pointee.completions[table.pointee.capacity - 1 - position]
                guard let waiter = waiters.removeValue(forKey: completion.tag) else {
                    invariantViolated("an awaited operation has a waiter")
                }
                completion.tag = waiter.tag
                waiter.continuation.resume(returning: completion)
            }
            table.pointee.awaitedCount = 0
        }
        return count + awaited
    }

    // MARK: Connections

    /// The queue has a connection whose Connect was answered: what waits may leave.
    func activate(limits: TransferLimits, timeoutMilliseconds: UInt32, retryRule: RetryRule = RetryRule()) {
        guard let reference else { return }
        table.pointee.limits = limits
        table.pointee.defaultTimeoutMilliseconds = timeoutMilliseconds
        table.pointee.retryRule = retryRule
        table.pointee.isOpen = true
        let domain = group.devices[reference.device].context.domain
        // Another device: the keys of what waits mean nothing to it.
        if let lastDomain, lastDomain != domain { failAll(.connectionLost) }
        lastDomain = domain
        table.pointee.device = reference.device
        table.pointee.isLive = true
    }

    /// The connection is gone and no device can reach the operations' memory through it any more. They end, or wait for
    /// the next connection.
    func connectionEnded(keepingOperations: Bool) {
        table.pointee.isLive = false
        table.pointee.pending.removeAll()
        for index in 0..<UInt32(table.pointee.capacity) {
            let slot = table.pointee.slots + Int(index)
            guard slot.pointee.state.isUnderWay else { continue }
            slot.pointee.commands = 0
            if keepingOperations, !slot.pointee.isCommand, !slot.pointee.hasTimedOut {
                slot.pointee.rewind()
                if slot.pointee.state != .pending { slot.pointee.state.move(to: .pending) }
                table.pointee.pending.append(index, table.pointee.slots)
            } else {
                end(index, slot.pointee.hasTimedOut ? .timeout : endFailure)
            }
        }
        if !keepingOperations { table.pointee.isOpen = false }
    }

    /// Ends everything that waits, without a connection, and accepts nothing more until there is one.
    func stopWaiting(_ failure: IOFailure) {
        guard !table.pointee.isLive else { return }
        table.pointee.isOpen = false
        failAll(failure)
    }

    /// A namespace's blocks have another size than its operations were made for: of those no further command is issued. What
    /// is under way ends with its answers.
    func abandonOperations(of nsid: UInt32) {
        for index in 0..<UInt32(table.pointee.capacity) {
            let slot = table.pointee.slots + Int(index)
            guard slot.pointee.state.isUnderWay, !slot.pointee.isCommand, slot.pointee.template.nsid == nsid else {
                continue
            }
            slot.pointee.isAbandoned = true
            if slot.pointee.state == .issued { continue }
            if slot.pointee.commands == 0 {
                end(index, .namespaceChanged)
            } else {
                slot.pointee.status = .invalidNamespaceOrFormat.doNotRetry
                slot.pointee.hasFailed = true
            }
        }
        rebuildPending()
    }

    private func failAll(_ failure: IOFailure) {
        table.pointee.pending.removeAll()
        for index in 0..<UInt32(table.pointee.capacity) {
            if table.pointee.slots[Int(index)].state.isUnderWay { end(index, failure) }
        }
    }

    private func end(_ index: UInt32, _ failure: IOFailure) {
        let outcome: IOOutcome = table.pointee.slots[Int(index)].mayHaveEffect ? .unknown : .surelyNotDone
        table.pointee.complete(index, outcome, failure)
    }

    /// Has operations done again whose delay is over. Ends those whose time is over, where no device can reach their
    /// memory; marks the others. Returns whether the
    /// connection has to end for some.
    func expire(now: MonotonicTime) -> Bool {
        guard now >= table.pointee.earliestDeadline else { return false }
        var earliest = MonotonicTime.distantFuture
        var mustEnd = false
        var hasGone = false
        for index in 0..<UInt32(table.pointee.capacity) {
            let slot = table.pointee.slots + Int(index)
            guard slot.pointee.state.isUnderWay else { continue }
            if slot.pointee.state == .delayed {
                // It is done again before its deadline, or not at all.
                if slot.pointee.retryAt > now {
                    earliest = min(earliest, slot.pointee.retryAt)
                    continue
                }
                slot.pointee.rewind()
                slot.pointee.state.move(to: .pending)
                table.pointee.pending.append(index, table.pointee.slots)
            }
            if slot.pointee.deadline > now {
                earliest = min(earliest, slot.pointee.deadline)
            } else if slot.pointee.commands > 0 {
                slot.pointee.hasTimedOut = true
                mustEnd = true
            } else {
                end(index, .timeout)
                hasGone = true
            }
        }
        if hasGone { rebuildPending() }
        table.pointee.earliestDeadline = earliest
        return mustEnd
    }

    /// Takes operations that have ended out of the list, in order.
    private func rebuildPending() {
        var list = table.pointee.pending
        table.pointee.pending.removeAll()
        while let index = list.removeFirst(table.pointee.slots) {
            if table.pointee.slots[Int(index)].state == .pending {
                table.pointee.pending.append(index, table.pointee.slots)
            }
        }
    }
}
