import Base
import InitiatorTransport
import NVMeSpec

/// From operations to command capsules.
extension QueueEngine {
    /// Issues commands of the operations that wait, as far as the submission queue and `batch` take them. Returns whether it
    /// was the batch that had no room.
    mutating func issue(into batch: inout CapsuleBatch, now: MonotonicTime) -> Bool {
        guard isLive else { return false }
        while let index = operations.firstPending {
            if !operations[index].marks.contains(.hasFailed) {
                guard commands.available >= (operations[index].isFused ? 2 : 1) else { return false }
                guard batch.hasRoom else { return true }
                issueNext(index, into: &batch)
            }
            if operations[index].isIssued || operations[index].marks.contains(.hasFailed) {
                operations.firstIsIssued()
                if operations[index].commands == 0 { conclude(index, now: now) }
            }
        }
        return false
    }

    /// Issues a single command past all that wait: Connect, before the queue is live.
    mutating func issueAtOnce(_ index: OperationIndex, into batch: inout CapsuleBatch) {
        issueNext(index, into: &batch)
        operations[index].state.move(to: .pending)
        operations[index].state.move(to: .issued)
    }

    /// Issues the next command of an operation.
    @inline(__always)
    private mutating func issueNext(_ index: OperationIndex, into batch: inout CapsuleBatch) {
        if _slowPath(operations[index].marks.contains(.isCommand)) { return issueSingle(index, into: &batch) }
        switch operations[index].kind {
        case .read, .write, .compare, .writeZeroes, .verify: issuePart(index, into: &batch)
        case .compareAndWrite: issueFused(index, into: &batch)
        case .flush: issueWhole(index, .flush, into: &batch)
        case .deallocate:
            let ranges = Int(operations[index].range.blockCount)
            issueWhole(
                index, .datasetManagement(DatasetManagementCommand(rangeCount: ranges, attributes: .deallocate)),
                into: &batch)
        }
    }

    /// A command as the caller made it.
    private mutating func issueSingle(_ index: OperationIndex, into batch: inout CapsuleBatch) {
        let entry = single(index)
        let (command, identifier) = begin(index)
        batch.append(connection, command, whole(operations[index].memory.data)) {
            $0 = entry
            $0.commandID = identifier
        }
        operations[index].range.blocksLeft = 0
    }

    /// The one command of an operation that is never divided.
    private mutating func issueWhole(_ index: OperationIndex, _ command: IOCommand, into batch: inout CapsuleBatch) {
        issueOther(index, command, whole(operations[index].memory.data), into: &batch)
        operations[index].range.blocksLeft = 0
    }

    /// Both halves of a Compare and Write, one right behind the other.
    private mutating func issueFused(_ index: OperationIndex, into batch: inout CapsuleBatch) {
        let range = operations[index].range
        let blocks = BlockCommand(
            startingLBA: range.startingLBA, blockCount: UInt32(truncatingIfNeeded: range.blockCount),
            flags: operations[index].blockFlags)
        issueOther(index, .compare(blocks), whole(operations[index].memory.data), fused: .first, into: &batch)
        issueOther(index, .write(blocks), whole(operations[index].second), fused: .second, into: &batch)
        operations[index].range.blocksLeft = 0
    }

    /// The next part of a Read, Write, Compare, Write Zeroes or Verify.
    @inline(__always)
    private mutating func issuePart(_ index: OperationIndex, into batch: inout CapsuleBatch) {
        guard let part = operations[index].takePart(terms) else {
            // The controller that we reconnected to takes less than the one that the operation was checked against.
            return operations[index].failed(.dataSGLLengthInvalid)
        }
        // Encoded where its kind is known: one branch for each command, not two.
        switch operations[index].kind {
        case .write: issue(index, .write(part.blocks), part.data, into: &batch)
        case .compare: issueOther(index, .compare(part.blocks), part.data, into: &batch)
        case .writeZeroes: issueOther(index, .writeZeroes(part.blocks), part.data, into: &batch)
        case .verify: issueOther(index, .verify(part.blocks), part.data, into: &batch)
        case .read, .flush, .compareAndWrite, .deallocate: issue(index, .read(part.blocks), part.data, into: &batch)
        }
    }

    @inline(never)
    private mutating func issueOther(
        _ index: OperationIndex, _ command: IOCommand, _ data: CommandData, fused: FusedOperation = .none,
        into batch: inout CapsuleBatch
    ) {
        issue(index, command, data, fused: fused, into: &batch)
    }

    @inline(__always)
    private mutating func issue(
        _ index: OperationIndex, _ command: IOCommand, _ data: CommandData, fused: FusedOperation = .none,
        into batch: inout CapsuleBatch
    ) {
        let nsid = operations[index].nsid
        let (place, identifier) = begin(index)
        batch.append(connection, place, data) {
            $0.encode(command, nsid: nsid, commandID: identifier, fused: fused)
        }
    }

    /// A new command of an operation.
    @inline(__always)
    private mutating func begin(_ index: OperationIndex) -> (CommandIndex, UInt16) {
        operations[index].commands += 1
        operations[index].marks.insert(.mayHaveEffect)
        return commands.begin(index)
    }

    /// Memory that one command uses all of, or none.
    private func whole(_ segment: IOSegment?) -> CommandData {
        guard let segment, segment.length > 0 else { return CommandData() }
        return CommandData(segment.length, first: segment, isWhole: true)
    }
}
