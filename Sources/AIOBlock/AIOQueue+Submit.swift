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
            guard let index = pool.take() else { break }
            taken += 1
            pool[index].pointee = Slot(
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

    private mutating func begin(_ index: UInt32, _ request: BlockRequest, byteCount: UInt64) {
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
                pool[index].pointee.place = .waitingForRange
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
    private mutating func beginChange(_ index: UInt32) -> Bool {
        let slot = pool[index]
        let request = slot.pointee.request
        guard device.changes.tryLock(request.rangeMode, offset: request.offset, length: request.length) else {
            return false
        }
        slot.pointee.holdsRange = true
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

    mutating func beginCompare(_ index: UInt32) {
        guard freeScratch != 0 else {
            pool[index].pointee.place = .waitingForScratch
            waiting.append(index)
            return
        }
        let piece = UInt8(freeScratch.trailingZeroBitCount)
        freeScratch &= freeScratch - 1
        pool[index].pointee.scratch = piece
        prepareTransfer(index)
    }

    /// Prepares the transfer of what is left of a request, or of as much as goes at once.
    mutating func prepareTransfer(_ index: UInt32) {
        let slot = pool[index]
        let request = slot.pointee.request
        let done = slot.pointee.done
        let left = request.length - done
        let length: UInt64
        let buffer: UnsafeMutableRawPointer
        let step = slot.pointee.step
        switch step {
        case .read, .write:
            let memory = request.operation == .compareAndWrite ? request.replacement : request.buffer
            guard let memory else { invariantViolated("a read or write has a buffer") }
            length = min(left, maximumTransfer)
            buffer = memory + Int(done)
        case .compare, .verify, .flush, .writeZeroes, .deallocate, .compareAndWrite:
            let piece = step == .compare ? Int(slot.pointee.scratch) : Self.scratchCount
            length = min(left, UInt64(Self.scratchSize))
            buffer = scratch + piece * Self.scratchSize
        }
        let isWrite = step == .write
        tercet_aio_prepare(
            iocbs + Int(index), Int32(isWrite ? IO_CMD_PWRITE.rawValue : IO_CMD_PREAD.rawValue), descriptor,
            eventDescriptor, index, buffer, Int(length), request.offset + done,
            isWrite && request.flags.contains(.forceUnitAccess) ? tercet_RWF_DSYNC : 0)
        makeReady(index)
    }

    private mutating func beginFlush(_ index: UInt32) {
        if device.options.detours.contains(.flushInWorker) { return post(index) }
        tercet_aio_prepare(
            iocbs + Int(index), Int32(IO_CMD_FDSYNC.rawValue), descriptor, eventDescriptor, index, nil, 0, 0, 0)
        makeReady(index)
    }

    private mutating func makeReady(_ index: UInt32) {
        pool[index].pointee.place = .ready
        ready[readyCount] = iocbs + Int(index)
        readyCount += 1
    }

    /// Hands an operation to the worker; the caller wakes the worker up.
    mutating func post(_ index: UInt32) {
        let slot = pool[index]
        slot.pointee.place = .worker
        let request = slot.pointee.request
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
                for position in next..<next + result { pool[slotIndex(position)].pointee.place = .kernel }
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
    private mutating func refuse(_ index: UInt32, code: Int32) {
        let request = pool[index].pointee.request
        if request.operation == .flush && code == EINVAL {
            // A file system without asynchronous fdatasync.
            post(index)
            device.worker.wake()
        } else {
            end(index, status(of: code, pool[index].pointee.step))
        }
    }

    private func slotIndex(_ position: Int) -> UInt32 {
        guard let iocb = ready[position] else { invariantViolated("a ready place holds an iocb") }
        return UInt32(iocb - iocbs)
    }
}

extension BlockRequest {
    /// How a change holds its range of the device: many may change it at once, unless it is compared and then written.
    var rangeMode: RangeLock.Mode { operation == .compareAndWrite ? .exclusive : .shared }
}
