import BlockInterface
import CLinux
import Glibc

extension BlockStatus {
    /// The status of a block operation whose system call failed (the kernel's block/blk-core.c, blk_errors).
    package init(errno code: Int32, operation: BlockOperation) {
        switch code {
        case ENOSPC, EDQUOT: self = .capacityExceeded
        case ENODEV, ENXIO, ENOMEDIUM, ESHUTDOWN: self = .deviceGone
        case EOPNOTSUPP, ENOSYS, ENOTTY: self = .unsupported
        case EBADF, EROFS, EPERM: self = .writeProtected
        // BLK_STS_IOERR, MEDIUM, PROTECTION, TIMEOUT, TRANSPORT.
        case EIO, ENODATA, EILSEQ, ETIMEDOUT, ENOLINK:
            switch operation {
            case .read, .compare, .compareAndWrite, .verify: self = .unrecoveredReadError
            case .write, .flush, .writeZeroes, .deallocate: self = .writeFault
            }
        default: self = .internalError
        }
    }
}
