import BlockInterface
import CLinux
import Glibc

/// The operations that keep their caller waiting. Run by the worker.
struct BlockingCommands: Sendable {
    let descriptor: Int32
    let kind: AIODevice.Kind
    /// `false` to do without.
    let hasFallocate: Bool

    func perform(_ job: WorkerJob) -> BlockStatus {
        if job.operation == .flush { return status(fdatasync(descriptor), .flush) }
        guard let offset = off_t(exactly: job.offset), let length = off_t(exactly: job.length) else {
            return .outOfRange
        }
        let outcome: BlockStatus
        switch job.operation {
        case .writeZeroes: outcome = writeZeroes(offset, length, mayDeallocate: job.flags.contains(.mayDeallocate))
        case .deallocate: outcome = deallocate(offset, length)
        case .read, .write, .flush, .compare, .compareAndWrite, .verify: outcome = .unsupported
        }
        guard outcome == .success, job.flags.contains(.forceUnitAccess) else { return outcome }
        return status(fdatasync(descriptor), .flush)
    }

    private func writeZeroes(_ offset: off_t, _ length: off_t, mayDeallocate: Bool) -> BlockStatus {
        let punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
        // A hole in a block device or file reads as zeroes, or the call fails: it is never only advisory.
        if mayDeallocate, allocate(punch, offset, length) == 0 { return .success }
        switch kind {
        case .blockDevice:
            // The kernel writes zeroes itself if the device has no command for them.
            return status(rangeCommand(tercet_BLKZEROOUT, offset, length), .writeZeroes)
        case .file:
            if allocate(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length) == 0 {
                return .success
            }
            if Self.isUnsupported(errno), allocate(punch, offset, length) == 0 { return .success }
            return Self.isUnsupported(errno) ? writeZeroBytes(offset, length) : status(-1, .writeZeroes)
        }
    }

    private func deallocate(_ offset: off_t, _ length: off_t) -> BlockStatus {
        let result =
            switch kind {
            case .blockDevice: rangeCommand(tercet_BLKDISCARD, offset, length)
            case .file: allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length)
            }
        // Deallocating is advice: a device that does not take it has done all that is asked.
        if result != 0 && Self.isUnsupported(errno) { return .success }
        return status(result, .deallocate)
    }

    private func allocate(_ mode: Int32, _ offset: off_t, _ length: off_t) -> Int32 {
        if hasFallocate { return fallocate(descriptor, mode, offset, length) }
        errno = EOPNOTSUPP
        return -1
    }

    private func rangeCommand(_ request: UInt, _ offset: off_t, _ length: off_t) -> Int32 {
        var range = (UInt64(offset), UInt64(length))
        return ioctl(descriptor, request, &range)
    }

    /// For file systems that have neither kind of fallocate.
    private func writeZeroBytes(_ offset: off_t, _ length: off_t) -> BlockStatus {
        let chunk = 1 << 20
        let zeroes = UnsafeMutableRawPointer.allocate(byteCount: chunk, alignment: 4096)
        defer { zeroes.deallocate() }
        zeroes.initializeMemory(as: UInt8.self, repeating: 0, count: chunk)
        var done: off_t = 0
        while done < length {
            let written = pwrite(descriptor, zeroes, min(chunk, Int(length - done)), offset + done)
            if written < 0 && errno == EINTR { continue }
            if written <= 0 { return status(-1, .writeZeroes) }
            done += off_t(written)
        }
        return .success
    }

    private func status(_ result: Int32, _ operation: BlockOperation) -> BlockStatus {
        result == 0 ? .success : BlockStatus(errno: errno, operation: operation)
    }

    private static func isUnsupported(_ code: Int32) -> Bool { code == EOPNOTSUPP || code == ENOSYS || code == ENOTTY }
}
