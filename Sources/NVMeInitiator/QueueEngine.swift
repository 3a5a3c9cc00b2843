import Base
import InitiatorTransport
import NVMeSpec

/// A namespace as one queue sees it.
struct NamespaceSlot: BitwiseCopyable {
    var isPresent = false
    var nsid: UInt32 = 0
    var blockShift: UInt8 = 9
    /// Namespace Optimal I/O Boundary, in blocks; 0 for none.
    var boundary: UInt32 = 0
    /// Write Zeroes may say that the blocks may be deallocated (DLFEAT bit 3).
    var mayDeallocateZeroes = false
}

/// Terms of a queue's operations once its connection is good for I/O.
struct QueueTerms {
    var limits = TransferLimits()
    /// Of an operation that does not say; 0 for no limit.
    var timeoutMilliseconds: UInt32 = 0
    var retryRule = RetryRule()
    /// Bytes of one Write Zeroes (WZSL) and of one Verify (VSL); all if the controller sets no limit.
    var maxZeroesBytes = UInt64.max
    var maxVerifyBytes = UInt64.max
    /// Operations of the controller beside Read, Write and Flush, which all have.
    var optional: OptionalOperations = []
}

/// Decides what becomes of one queue's operations: it checks them, divides them into commands, gives commands identifiers, believes answers
/// or not, repeats and gives up. Values in, values out: it knows no transport, thread, task or clock. Its `IOQueue` owns it.
struct QueueEngine: ~Copyable {
    var operations: OperationTable
    var commands = CommandTable(capacity: 1)
    /// The commands of operations that are single commands, by the operations' places.
    private let singles: UnsafeMutablePointer<SubmissionEntry>
    private let namespaces: UnsafeMutableBufferPointer<NamespaceSlot>
    private(set) var terms = QueueTerms()
    private(set) var connection = HostConnectionIndex.none
    /// Operations are accepted: there is a connection, or one is expected.
    private(set) var isOpen = false
    /// Commands of operations are issued: the connection is there and Connect has been answered.
    private(set) var isLive = false
    /// The controller broke the rules: its answers are not looked at any more.
    private var isDistrusted = false
    /// No operation's time is over, and none is to be done again, before this.
    private var earliestDeadline = MonotonicTime.distantFuture {
        didSet { operations.seat.isDue(at: earliestDeadline) }
    }
    /// Answers seen: the controller lives.
    private(set) var answers: UInt64 = 0

    init(operations count: Int, namespaces namespaceCount: Int) {
        operations = OperationTable(capacity: count)
        singles = .allocate(capacity: operations.capacity)
        singles.initialize(repeating: SubmissionEntry(), count: operations.capacity)
        namespaces = .allocate(capacity: namespaceCount)
        namespaces.initialize(repeating: NamespaceSlot())
    }

    deinit {
        singles.deallocate()
        namespaces.deallocate()
    }

    /// Changes what the queue knows of a namespace.
    func setNamespace(_ index: Int, _ slot: NamespaceSlot) { namespaces[index] = slot }

    /// No new operations of a namespace are accepted.
    func removeNamespace(_ index: Int) { namespaces[index].isPresent = false }

    // MARK: Connection

    /// There is a connection: Connect may be sent on it.
    mutating func connected(_ connection: HostConnectionIndex, commands count: Int) {
        self.connection = connection
        commands = CommandTable(capacity: count)
        terms.limits = TransferLimits()
        isDistrusted = false
    }

    /// Connect was answered: what waits may leave.
    mutating func activate(_ terms: QueueTerms) {
        self.terms = terms
        isOpen = true
        isLive = true
    }

    /// The connection is of no use any more; answers that are on their way still count.
    mutating func connectionFailed() { isLive = false }

    /// The connection is gone and nobody reaches the operations' memory through it any more. They end, or wait for the next one.
    mutating func connectionEnded(keepingOperations: Bool, _ failure: IOFailure) {
        isLive = false
        connection = .none
        operations.forgetPending()
        for index in operations.indices where operations[index].state.isUnderWay {
            operations[index].commands = 0
            if keepingOperations, operations[index].marks.isDisjoint(with: [.isCommand, .hasTimedOut]) {
                operations[index].rewind()
                operations.append(index)
            } else {
                end(index, operations[index].marks.contains(.hasTimedOut) ? .timeout : failure)
            }
        }
        if !keepingOperations { isOpen = false }
    }

    /// Ends everything that waits, without a connection, and accepts nothing more until there is one.
    mutating func stopWaiting(_ failure: IOFailure) {
        guard !isLive else { return }
        isOpen = false
        failAll(failure)
    }

    mutating func failAll(_ failure: IOFailure) {
        operations.forgetPending()
        for index in operations.indices where operations[index].state.isUnderWay { end(index, failure) }
    }

    /// Nothing is accepted any more; what is under way ends by itself.
    mutating func refuseOperations() { isOpen = false }

    private mutating func end(_ index: OperationIndex, _ failure: IOFailure) {
        let mayHaveEffect = operations[index].marks.contains(.mayHaveEffect)
        operations.complete(index, mayHaveEffect ? .unknown : .surelyNotDone, failure)
    }

    // MARK: Operations

    /// Accepts an operation where it makes sense and there is room.
    @inline(__always)
    mutating func accept(_ operation: IOOperation, tag: UInt64, isAwaited: Bool, now: MonotonicTime) -> SubmitResult {
        guard isOpen else { return .notConnected }
        guard operation.namespace >= 0, operation.namespace < namespaces.count else { return .invalid }
        let namespace = namespaces[operation.namespace]
        guard namespace.isPresent, Self.isSound(operation, blockShift: namespace.blockShift, terms.limits) else {
            return .invalid
        }
        guard terms.optional.include(operation.kind) else { return .unsupported }
        guard let index = operations.take() else { return .full }
        operations[index].forget()
        operations[index].kind = operation.kind
        operations[index].flags = operation.flags
        if !namespace.mayDeallocateZeroes { operations[index].flags.remove(.mayDeallocate) }
        if isAwaited { operations[index].marks = .isAwaited }
        operations[index].tag = tag
        operations[index].nsid = namespace.nsid
        operations[index].blockShift = namespace.blockShift
        operations[index].boundary = namespace.boundary
        let hasRange = operation.kind != .flush
        operations[index].range = OperationRange(
            startingLBA: operation.startingLBA, blockCount: hasRange ? operation.blockCount : 1)
        operations[index].memory.data = operation.data
        operations[index].memory.pieces = operation.segments
        operations[index].memory.pieceCount = UInt32(truncatingIfNeeded: operation.segmentCount)
        operations[index].second = operation.second
        let timeout = operation.timeoutMilliseconds > 0 ? operation.timeoutMilliseconds : terms.timeoutMilliseconds
        if timeout > 0 {
            operations[index].deadline = now.advanced(byMilliseconds: UInt64(timeout))
            noteDeadline(operations[index].deadline)
        }
        operations.append(index)
        return .accepted
    }

    /// Accepts a single command, as the caller made it.
    ///
    /// - Parameters:
    ///   - timeoutMilliseconds: 0 for no limit.
    /// - Returns: its place, for the caller to let it wait (`operations.append`) or to `issueAtOnce`; `nil` where there is none.
    mutating func accept(
        _ command: SubmissionEntry, data: IOSegment?, tag: UInt64, timeoutMilliseconds: UInt32, now: MonotonicTime
    ) -> OperationIndex? {
        guard let index = operations.take(forControl: true) else { return nil }
        var slot = OperationSlot()
        slot.marks = [.isCommand, .isAwaited]
        slot.tag = tag
        slot.memory.data = data
        if timeoutMilliseconds > 0 {
            slot.deadline = now.advanced(byMilliseconds: UInt64(timeoutMilliseconds))
            noteDeadline(slot.deadline)
        }
        operations[index] = slot
        singles[index.offset] = command
        return index
    }

    /// The command of an operation that is a single command.
    @inline(__always)
    func single(_ index: OperationIndex) -> SubmissionEntry { singles[index.offset] }

    /// Whether the operation's lengths fit together.
    ///
    /// Static, as is what it calls: a call that is not inlined would have all of the engine copied before it.
    @inline(__always)
    private static func isSound(_ operation: IOOperation, blockShift: UInt8, _ limits: TransferLimits) -> Bool {
        let shift = UInt64(blockShift)
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
                bytes <= limits.maxBytes, operation.blockCount <= 65536
            else { return false }
            return !overflow && data.length == Int(bytes) && second.length == Int(bytes)
        case .read, .write, .compare:
            guard operation.blockCount > 0, !overflow, !wraps, bytes <= UInt64(Int.max) else { return false }
            if let data = operation.data, operation.segments == nil { return data.length == Int(bytes) }
            return segmentsAreSound(operation, Int(bytes), blockMask: (1 << Int(shift)) - 1, limits)
        }
    }

    /// Pieces add up to the operation's length, and none of them ends within a block, unless all go into one command.
    private static func segmentsAreSound(
        _ operation: IOOperation, _ bytes: Int, blockMask: Int, _ limits: TransferLimits
    ) -> Bool {
        guard let segments = operation.segments, operation.segmentCount > 0 else { return false }
        var left = bytes
        var isAligned = true
        for position in 0..<operation.segmentCount {
            let length = segments[position].length
            guard length > 0, length <= left else { return false }
            left -= length
            if length & blockMask != 0 { isAligned = false }
        }
        let fitsOne = operation.segmentCount <= limits.maxPieces && UInt64(bytes) <= limits.maxBytes
        return left == 0 && (isAligned || fitsOne)
    }

    /// A namespace's blocks have another size than its operations were made for: of those no further command is issued. What
    /// is under way ends with its answers.
    mutating func abandonOperations(of nsid: UInt32) {
        for index in operations.indices where operations[index].state.isUnderWay {
            guard !operations[index].marks.contains(.isCommand), operations[index].nsid == nsid else { continue }
            operations[index].marks.insert(.isAbandoned)
            if operations[index].state == .issued { continue }
            if operations[index].commands == 0 {
                end(index, .namespaceChanged)
            } else {
                operations[index].status = .invalidNamespaceOrFormat.doNotRetry
                operations[index].marks.insert(.hasFailed)
            }
        }
        operations.dropEnded()
    }

    // MARK: Time

    @inline(__always)
    private mutating func noteDeadline(_ deadline: MonotonicTime) {
        if deadline < earliestDeadline { earliestDeadline = deadline }
    }

    /// Has operations done again whose delay is over. Ends those whose time is over, where nobody can reach their memory; marks
    /// the others. Returns whether the connection has to end for some.
    mutating func expire(now: MonotonicTime) -> Bool {
        guard now >= earliestDeadline else { return false }
        var earliest = MonotonicTime.distantFuture
        var mustEnd = false
        for index in operations.indices where operations[index].state.isUnderWay {
            if operations[index].state == .delayed {
                // It is done again before its deadline, or not at all.
                if operations[index].retryAt > now {
                    earliest = min(earliest, operations[index].retryAt)
                    continue
                }
                operations[index].rewind()
                operations.append(index)
            }
            if operations[index].deadline > now {
                earliest = min(earliest, operations[index].deadline)
            } else if operations[index].commands > 0 {
                operations[index].marks.insert(.hasTimedOut)
                mustEnd = true
            } else {
                end(index, .timeout)
            }
        }
        operations.dropEnded()
        earliestDeadline = earliest
        return mustEnd
    }

    /// Has an operation that failed wait until it is done again. False where it is not, or not before its deadline.
    mutating func postpone(_ index: OperationIndex, now: MonotonicTime) -> Bool {
        guard operations[index].marks.isDisjoint(with: [.isCommand, .isAbandoned]),
            let delay = terms.retryRule.delay(operations[index].status, retries: Int(operations[index].retries))
        else { return false }
        let time = now.advanced(byMilliseconds: delay)
        guard time < operations[index].deadline else { return false }
        operations[index].retries = min(operations[index].retries, .max - 1) + 1
        operations[index].retryAt = time
        operations[index].state.move(to: .delayed)
        noteDeadline(time)
        return true
    }

    // MARK: Answers

    /// The controller has answered. Throws what it must not say, once: nothing that it says is believed from then on.
    @inline(__always)
    mutating func answered(_ answer: CompletionEntry, now: MonotonicTime) throws(AnswerViolation) {
        guard !isDistrusted else { return }
        do throws(AnswerViolation) {
            let end = try commands.answered(answer)
            answers &+= 1
            if let end { finish(end, now: now) }
        } catch {
            isDistrusted = true
            throw error
        }
    }

    /// The transport has released a command's memory.
    @inline(__always)
    mutating func released(_ index: CommandIndex, now: MonotonicTime) {
        if let end = commands.released(index), !isDistrusted { finish(end, now: now) }
    }

    /// A command is over, and perhaps its operation.
    @inline(__always)
    private mutating func finish(_ end: CommandEnd, now: MonotonicTime) {
        let index = end.operation
        operations[index].commands -= 1
        operations[index].result = end.result
        if _slowPath(!end.status.isSuccess) { operations[index].failed(end.status) }
        if operations[index].commands == 0, operations[index].state == .issued { conclude(index, now: now) }
    }

    /// All commands of an operation have been answered: it ends, or is done again later.
    @inline(__always)
    mutating func conclude(_ index: OperationIndex, now: MonotonicTime) {
        if _slowPath(operations[index].marks.contains(.hasFailed)), postpone(index, now: now) { return }
        operations.complete(index, .surelyDone)
    }

    /// Identifiers of the commands that operations with a tag have under way.
    func commandIDs(tag: UInt64) -> [UInt16] {
        guard isLive else { return [] }
        return commands.identifiers { operations[$0].tag == tag && !operations[$0].marks.contains(.isAwaited) }
    }
}
