import Base
import BlockInterface
import CAIO
import CLinux
import Glibc

extension AIOQueue {
    /// Takes what the kernel and the worker have done, begins what follows from it, and fills `completions`.
    mutating func collect(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int {
        if inKernel > 0, let context {
            let count =
                ringIsKnown
                ? tercet_aio_reap(context, events, Int32(depth))
                : tercet_aio_reap_by_call(context, events, Int32(depth))
            inKernel -= Int(count)
            for position in 0..<Int(count) {
                advance(
                    slots.index(at: tercet_aio_index(events + position)), result: tercet_aio_result(events + position))
            }
        }
        if inWorker > 0 {
            while let result = workerQueue.nextResult() {
                inWorker -= 1
                device.noteFailure(result.status)
                end(result.slot, result.status)
            }
        }
        if blocked.count > 0 { retryBlocked() }
        while waiting.count > 0, freeScratch != 0, let index = waiting.popFirst() { beginCompare(index) }
        if readyCount > 0 { submitReady() }
        return ended.count == 0 ? 0 : deliver(into: completions)
    }

    private mutating func deliver(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int {
        var count = 0
        while count < completions.count, let index = ended.popFirst() {
            completions[count] = BlockCompletion(tag: slots[index].request.tag, status: slots[index].status)
            slots[index].place = .free
            slots.give(index)
            count += 1
        }
        return count
    }

    /// A piece of an operation is done: the next piece follows, or the end.
    private mutating func advance(_ index: OperationIndex, result: Int64) {
        let request = slots[index].request
        let step = slots[index].step
        if result < 0 { return end(index, status(of: Int32(clamping: -result), step)) }
        if request.operation == .flush { return end(index, .success) }
        // A part of a block was cut by the device's end.
        let moved = UInt64(result) & ~(blockSize - 1)
        if moved == 0 { return end(index, device.presentSize() == nil ? .deviceGone : .outOfRange) }
        if step == .compare, let expected = request.buffer {
            let piece = scratch + Int(slots[index].scratch) * Self.scratchSize
            if memcmp(piece, expected + Int(slots[index].done), Int(moved)) != 0 { return end(index, .compareFailure) }
        }
        slots[index].done += moved
        invariant(slots[index].done <= request.length, "the kernel moves no more than was asked")
        if slots[index].done == request.length, step == .compare, request.operation == .compareAndWrite {
            slots[index].isEqual = true
            slots[index].done = 0
            prepareTransfer(index)
        } else if slots[index].done == request.length {
            end(index, .success)
        } else {
            prepareTransfer(index)
        }
    }

    /// Puts an operation among those whose completion can be polled.
    mutating func end(_ index: OperationIndex, _ status: BlockStatus) {
        if slots[index].scratch != Self.noScratch {
            freeScratch |= 1 << slots[index].scratch
            slots[index].scratch = Self.noScratch
        }
        if slots[index].holdsRange {
            let request = slots[index].request
            device.changes.unlock(request.rangeMode, offset: request.offset, length: request.length)
            slots[index].holdsRange = false
        }
        slots[index].status = status
        slots[index].place = .ended
        ended.append(index)
    }

    /// The status for an error. An I/O error of a device that has been removed means the removal.
    func status(of code: Int32, _ operation: BlockOperation) -> BlockStatus {
        let status = BlockStatus(errno: code, operation: operation)
        if status == .success || status == .compareFailure { return status }
        if status != .unsupported { device.noteFailure(code) }
        return device.presentSize() == nil ? .deviceGone : status
    }

    mutating func withdraw(tag: UInt64) -> Bool {
        for index in slots.usedIndices {
            guard slots[index].request.tag == tag else { continue }
            switch slots[index].place {
            case .free, .kernel, .ended: continue
            case .worker: return workerQueue.withdraw(index)
            case .waitingForScratch:
                _ = waiting.remove(index)
            case .waitingForRange:
                _ = blocked.remove(index)
                let request = slots[index].request
                if request.rangeMode == .exclusive {
                    device.changes.withdraw(offset: request.offset, length: request.length)
                }
            case .ready:
                // A request that has been cut into pieces has started.
                if slots[index].done > 0 || slots[index].isEqual { return false }
                removeFromReady(index)
            }
            end(index, .aborted)
            signal()
            return true
        }
        return false
    }

    private mutating func removeFromReady(_ index: OperationIndex) {
        var kept = 0
        for position in 0..<readyCount where ready[position] != iocbs + index.offset {
            ready[kept] = ready[position]
            kept += 1
        }
        readyCount = kept
    }
}
