import Base
import BlockInterface
import CAIO
import CLinux
import Glibc
import Synchronization

extension AIOQueue {
    /// Begins as many requests as there are slots, with one system call for all of them.
    mutating func begin(_ requests: UnsafeBufferPointer<BlockRequest>) -> Int {
        let byteCount = device.byteCount.load(ordering: .relaxed)
        let isGone = device.isGone.load(ordering: .relaxed)
        let endedBefore = ended.count
        let inWorkerBefore = inWorker
        var taken = 0
        for request in requests {
            guard let index = slots.take() else { break }
            taken += 1
            slots[index] = Slot(
                request: request, done: 0, place: .ready, status: .success, scratch: Self.noScratch)
            if isGone {
                end(index, .deviceGone)
            } else {
                begin(index, request, byteCount: byteCount)
            }
        }
        submitReady()
        if inWorker > inWorkerBefore { device.worker.wake() }
        // Ended without the kernel's help, so without its notification.
        if ended.count > endedBefore { signal() }
        return taken
    }

    private mutating func begin(_ index: OperationIndex, _ request: BlockRequest, byteCount: UInt64) {
        if request.operation != .flush {
            let (last, overflow) = request.offset.addingReportingOverflow(request.length)
            guard !overflow, last <= byteCount, (request.offset | request.length) & (blockSize - 1) == 0 else {
                return end(index, .outOfRange)
            }
            if request.length == 0 { return end(index, .success) }
        }
        switch request.operation {
        case .read, .verify:
            prepareTransfer(index)
        case .write, .writeZeroes, .deallocate, .compareAndWrite:
            if isReadOnly {
                end(index, .writeProtected)
            } else if !beginChange(index) {
                slots[index].place = .waitingForRange
                blocked.append(index)
            }
        case .flush:
            isReadOnly ? end(index, .success) : beginFlush(index)
        case .compare:
            beginCompare(index)
        }
    }

    /// Begins what changes the device; `false` while its range is compared and written, or, for a comparison and write,
    /// while anything else changes it.
    private mutating func beginChange(_ index: OperationIndex) -> Bool {
        let request = slots[index].request
        guard device.changes.tryLock(request.rangeMode, offset: request.offset, length: request.length) else {
            return false
        }
        slots[index].holdsRange = true
        switch request.operation {
        case .write: prepareTransfer(index)
        case .compareAndWrite: beginCompare(index)
        default: post(index)
        }
        return true
    }

    /// Tries those again whose range others had.
    mutating func retryBlocked() {
        let inWorkerBefore = inWorker
        for _ in 0..<blocked.count {
            guard let index = blocked.popFirst() else { break }
            if !beginChange(index) { blocked.append(index) }
        }
        if inWorker > inWorkerBefore { device.worker.wake() }
    }

    mutating func beginCompare(_ index: OperationIndex) {
        guard freeScratch != 0 else {
            slots[index].place = .waitingForScratch
            waiting.append(index)
            return
        }
        let piece = UInt8(freeScratch.trailingZeroBitCount)
        freeScratch &= freeScratch - 1
        slots[index].scratch = piece
        prepareTransfer(index)
    }

    /// Prepares the transfer of what is left of a request, or of as much as goes at once.
    mutating func prepareTransfer(_ index: OperationIndex) {
        let request = slots[index].request
        let done = slots[index].done
        let left = request.length - done
        let length: UInt64
        let buffer: UnsafeMutableRawPointer
        let step = slots[index].step
        switch step {
        case .read, .write:
            let memory = request.operation == .compareAndWrite ? request.replacement : request.buffer
            guard let memory else { invariantViolated("a read or write has a buffer") }
            length = min(left, maximumTransfer)
            buffer = memory + Int(done)
        case .compare, .verify, .flush, .writeZeroes, .deallocate, .compareAndWrite:
            let piece = step == .compare ? Int(slots[index].scratch) : Self.scratchCount
            length = min(left, UInt64(Self.scratchSize))
            buffer = scratch + piece * Self.scratchSize
        }
        let isWrite = step == .write
        tercet_aio_prepare(
            iocbs + index.offset, Int32(isWrite ? IO_CMD_PWRITE.rawValue : IO_CMD_PREAD.rawValue), descriptor,
            eventDescriptor, index.position, buffer, Int(length), request.offset + done,
            isWrite && request.flags.contains(.forceUnitAccess) ? tercet_RWF_DSYNC : 0)
        makeReady(index)
    }

    private mutating func beginFlush(_ index: OperationIndex) {
        if device.options.detours.contains(.flushInWorker) { return post(index) }
        tercet_aio_prepare(
            iocbs + index.offset, Int32(IO_CMD_FDSYNC.rawValue), descriptor, eventDescriptor, index.position, nil, 0, 0,
            0)
        makeReady(index)
    }

    private mutating func makeReady(_ index: OperationIndex) {
        slots[index].place = .ready
        ready[readyCount] = iocbs + index.offset
        readyCount += 1
    }

    /// Hands an operation to the worker; the caller wakes the worker up.
    mutating func post(_ index: OperationIndex) {
        slots[index].place = .worker
        let request = slots[index].request
        workerQueue.post(
            WorkerJob(
                slot: index, operation: request.operation, flags: request.flags, offset: request.offset,
                length: request.length))
        inWorker += 1
    }

    /// Gives the prepared iocbs to the kernel. What it has no room for stays for the next call.
    mutating func submitReady() {
        guard let context else { return }
        var next = 0
        while next < readyCount {
            let result = Int(io_submit(context, readyCount - next, ready + next))
            if result > 0 {
                for position in next..<next + result { slots[slotIndex(position)].place = .kernel }
                inKernel += result
                next += result
            } else if result == -Int(EINTR) {
                continue
            } else if result == 0 || result == -Int(EAGAIN) {
                break
            } else {
                refuse(slotIndex(next), code: Int32(-result))
                next += 1
            }
        }
        guard next > 0 else { return }
        readyCount -= next
        for position in 0..<readyCount { ready[position] = ready[position + next] }
    }

    /// The kernel did not take an operation at all.
    private mutating func refuse(_ index: OperationIndex, code: Int32) {
        let request = slots[index].request
        if request.operation == .flush && code == EINVAL {
            // A file system without asynchronous fdatasync.
            post(index)
            device.worker.wake()
        } else {
            end(index, status(of: code, slots[index].step))
        }
    }

    private func slotIndex(_ position: Int) -> OperationIndex {
        guard let iocb = ready[position] else { invariantViolated("a ready place holds an iocb") }
        return slots.index(at: UInt32(iocb - iocbs))
    }
}

extension BlockRequest {
    /// How a change holds its range of the device: many may change it at once, unless it is compared and then written.
    var rangeMode: RangeLock.Mode { operation == .compareAndWrite ? .exclusive : .shared }
}
