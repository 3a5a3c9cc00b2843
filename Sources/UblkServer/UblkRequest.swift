import BlockInterface
import CUring
import Glibc

/// A request of the kernel, as its description in the memory has it that the kernel shares (linux/ublk_cmd.h, `struct ublksrv_io_desc`).
package struct UblkRequest: Equatable, BitwiseCopyable {
    package var operation = BlockOperation.flush
    package var flags: BlockFlags = []
    /// Bytes.
    package var offset: UInt64 = 0
    package var length: UInt64 = 0

    package var hasData: Bool { operation == .read || operation == .write }
    var needsLock: Bool { operation != .read && operation != .flush && length > 0 }

    package init() {}

    package enum Verdict: Equatable {
        case perform(UblkRequest)
        /// An errno value.
        case refuse(Int32)
    }

    /// Reads a description of 24 bytes. A range that no device can have, and data that has no place here, are refused.
    package static func read(_ bytes: UnsafeRawPointer) -> Verdict {
        let description = bytes.loadUnaligned(as: ublksrv_io_desc.self)
        var request = UblkRequest()
        switch Int32(description.op_flags & 0xff) {
        case UBLK_IO_OP_READ: request.operation = .read
        case UBLK_IO_OP_WRITE: request.operation = .write
        case UBLK_IO_OP_FLUSH: return .perform(request)
        case UBLK_IO_OP_DISCARD: request.operation = .deallocate
        case UBLK_IO_OP_WRITE_ZEROES: request.operation = .writeZeroes
        default: return .refuse(EOPNOTSUPP)
        }
        let (end, overflow) = description.start_sector.addingReportingOverflow(UInt64(description.nr_sectors))
        guard !overflow, end <= UInt64.max >> 9 else { return .refuse(EINVAL) }
        request.offset = description.start_sector << 9
        request.length = UInt64(description.nr_sectors) << 9
        if request.hasData, request.length > UInt64(UblkQueue.longestRequest) { return .refuse(EINVAL) }
        let flags = description.op_flags & ~0xff
        if request.operation == .write, flags & UInt32(UBLK_IO_F_FUA) != 0 { request.flags = .forceUnitAccess }
        if request.operation == .writeZeroes, flags & UInt32(UBLK_IO_F_NOUNMAP) == 0 { request.flags = .mayDeallocate }
        return .perform(request)
    }
}
