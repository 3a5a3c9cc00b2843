import Base
import BlockInterface
import CLinux
import Glibc
import SystemPackage

/// An open path and its properties. The caller closes the descriptor.
struct OpenedFile {
    var descriptor: Int32
    var kind: AIODevice.Kind
    var isDirect: Bool
    var geometry: BlockGeometry
    var identity = BlockIdentity()
    var remarks: [String] = []

    init(path: String, options: AIODeviceOptions, sysfsRoot: String) throws(TercetError) {
        var status = stat()
        guard stat(path, &status) == 0 else { throw Self.refusal(path, errno) }
        let isBlockDevice: Bool
        switch status.st_mode & S_IFMT {
        case S_IFREG: isBlockDevice = false
        case S_IFBLK: isBlockDevice = true
        case S_IFDIR: throw TercetError(.invalid, "\(path): is a directory; a block device or a regular file is needed")
        default: throw TercetError(.invalid, "\(path): is neither a block device nor a regular file")
        }
        let alignment: UInt32
        (descriptor, alignment, isDirect) = try Self.open(path, options, isBlockDevice)
        let descriptor = self.descriptor
        do throws(TercetError) {
            guard fstat(descriptor, &status) == 0 else { throw Self.refusal(path, errno) }
            if isBlockDevice {
                let folder = "\(sysfsRoot)/dev/block/\(Self.major(status.st_rdev)):\(Self.minor(status.st_rdev))"
                let sysfs = SysfsBlockDevice(folder: folder)
                kind = .blockDevice(sysfs: folder)
                geometry = try Self.deviceGeometry(path, descriptor, options, sysfs)
                identity = sysfs.identity
            } else {
                kind = .file
                try Self.lock(path, descriptor, options)
                geometry = try Self.fileGeometry(path, descriptor, options, status, alignment)
            }
        } catch {
            Self.release(descriptor)
            throw error
        }
        if !isDirect && !options.buffered {
            remarks.append(
                "\(path): its file system refuses O_DIRECT, so it is used through the page cache: slower, and a "
                    + "submission waits for the copy")
        }
    }

    /// Opens with O_DIRECT, or without it if the file system refuses that, at once or at the first read.
    /// - Returns: the descriptor, the unit of its transfers in bytes, and whether it is open with O_DIRECT.
    private static func open(
        _ path: String, _ options: AIODeviceOptions, _ isBlockDevice: Bool
    ) throws(TercetError) -> (descriptor: Int32, alignment: UInt32, isDirect: Bool) {
        var flags = O_CLOEXEC | (options.readOnly ? O_RDONLY : O_RDWR)
        // On a block device O_EXCL means: not if it is mounted or part of something else.
        if isBlockDevice && !options.readOnly { flags |= O_EXCL }
        if !options.buffered {
            let direct = Glibc.open(path, flags | tercet_O_DIRECT)
            if direct >= 0 {
                if isBlockDevice { return (direct, 512, true) }
                if let alignment = directAlignment(direct) { return (direct, alignment, true) }
                close(direct)
            } else if errno != EINVAL {
                throw refusal(path, errno)
            }
        }
        let buffered = Glibc.open(path, flags)
        if buffered < 0 { throw refusal(path, errno) }
        return (buffered, 512, false)
    }

    /// Takes the file's advisory lock, so that two daemons never write one file.
    private static func lock(
        _ path: String, _ descriptor: Int32, _ options: AIODeviceOptions
    ) throws(TercetError) {
        if flock(descriptor, (options.readOnly ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0 { return }
        // A file system without locks is no reason to refuse.
        if errno == EWOULDBLOCK {
            throw TercetError(.inUse, "\(path): is in use already (its lock is held)")
        }
    }

    /// Gives the file's lock back, if there is one, and closes the descriptor. The lock belongs to what is open, not to the
    /// descriptor: a process that was forked meanwhile has a copy until it calls `exec`, and would keep the lock so long.
    static func release(_ descriptor: Int32) {
        _ = flock(descriptor, LOCK_UN)
        close(descriptor)
    }

    private static func deviceGeometry(
        _ path: String, _ descriptor: Int32, _ options: AIODeviceOptions, _ sysfs: SysfsBlockDevice
    ) throws(TercetError) -> BlockGeometry {
        var size: UInt64 = 0
        var logical: Int32 = 0
        var physical: UInt32 = 0
        var optimal: UInt32 = 0
        guard ioctl(descriptor, tercet_BLKGETSIZE64, &size) == 0, ioctl(descriptor, tercet_BLKSSZGET, &logical) == 0
        else { throw refusal(path, errno) }
        _ = ioctl(descriptor, tercet_BLKPBSZGET, &physical)
        _ = ioctl(descriptor, tercet_BLKIOOPT, &optimal)
        guard let blockSize = UInt32(exactly: logical), BlockGeometry.isBlockSize(blockSize) else {
            throw TercetError(
                .unsupported, "\(path): has blocks of \(logical) bytes; a power of two from 512 to 65536 is needed")
        }
        if let wanted = options.blockSize, wanted != blockSize {
            throw TercetError(
                .invalid,
                "\(path): has blocks of \(blockSize) bytes, which cannot be changed to \(wanted); leave it out"
            )
        }
        guard size >= UInt64(blockSize) else {
            throw TercetError(.unavailable, "\(path): the device is empty (no medium?)")
        }
        // Linux sets an NVMe drive's physical block size no larger than what the drive writes atomically over a power
        // loss (drivers/nvme/host/core.c, AWUPF); for others it is the sector that a write replaces whole.
        let atomic = physical >= blockSize && physical % blockSize == 0 ? physical : blockSize
        return BlockGeometry(
            blockSize: blockSize, blockCount: size / UInt64(blockSize),
            hasVolatileWriteCache: sysfs.hasVolatileWriteCache,
            optimalIOSize: optimal % blockSize == 0 ? optimal : 0, atomicWriteSize: atomic,
            memoryAlignment: max(512, Int(blockSize)), canDeallocate: sysfs.canDiscard && !options.readOnly,
            deallocatedReadsZeroes: false, deallocateGranularity: sysfs.discardGranularity,
            isReadOnly: options.readOnly)
    }

    private static func fileGeometry(
        _ path: String, _ descriptor: Int32, _ options: AIODeviceOptions, _ status: stat, _ needed: UInt32
    ) throws(TercetError) -> BlockGeometry {
        let size = UInt64(max(0, status.st_size))
        if size == 0 {
            throw TercetError(.invalid, "\(path): the file is empty; give it a size first (truncate -s 64M \(path))")
        }
        let blockSize = options.blockSize ?? needed
        guard BlockGeometry.isBlockSize(blockSize) else {
            throw TercetError(
                .invalid,
                "\(path): a block size of \(blockSize) bytes is not possible; a power of two from 512 to 65536 is"
            )
        }
        guard blockSize >= needed else {
            throw TercetError(
                .invalid,
                "\(path): blocks of \(blockSize) bytes are not possible; its file system needs \(needed) or more")
        }
        guard size % UInt64(blockSize) == 0 else {
            throw TercetError(
                .invalid, "\(path): its size of \(size) bytes is no multiple of the block size of \(blockSize) bytes")
        }
        let canDeallocate =
            !options.readOnly && !options.detours.contains(.noFallocate) && canPunchHoles(descriptor, past: size)
        let preferred = UInt32(clamping: status.st_blksize)
        return BlockGeometry(
            blockSize: blockSize, blockCount: size / UInt64(blockSize), hasVolatileWriteCache: true,
            optimalIOSize: preferred % blockSize == 0 ? preferred : 0,
            memoryAlignment: max(512, Int(needed)), canDeallocate: canDeallocate, deallocatedReadsZeroes: canDeallocate,
            deallocateGranularity: canDeallocate ? preferred : 0, isReadOnly: options.readOnly)
    }

    /// The unit in which the file system does O_DIRECT transfers: the smaller of 512 and 4096 in which a read works, or
    /// `nil` if neither does.
    private static func directAlignment(_ descriptor: Int32) -> UInt32? {
        let memory = UnsafeMutableRawPointer.allocate(byteCount: 8192, alignment: 4096)
        defer { memory.deallocate() }
        // 512 bytes past a page boundary, so that memory aligned to 512 and no more is tried too.
        if pread(descriptor, memory + 512, 512, 0) >= 0 { return 512 }
        return pread(descriptor, memory + 4096, 4096, 0) >= 0 ? 4096 : nil
    }

    /// Whether the file system gives space back. Asked with a hole past the file's end, where there is nothing to lose.
    private static func canPunchHoles(_ descriptor: Int32, past size: UInt64) -> Bool {
        guard let end = off_t(exactly: size) else { return false }
        return fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, end, 65536) == 0
    }

    /// The error of a failed `open` or `stat`.
    private static func refusal(_ path: String, _ code: Int32) -> TercetError {
        let reason =
            switch code {
            case ENOENT: "there is no such file or device"
            case EACCES, EPERM: "no permission to open it"
            case EBUSY: "the device is in use (mounted, or part of another device)"
            case EROFS: "is on a read-only file system"
            case ENXIO, ENODEV, ENOMEDIUM: "there is no device behind it"
            default: Errno(rawValue: code).description
            }
        return TercetError(TercetError.Code(errno: code), "\(path): \(reason)")
    }

    private static func major(_ device: dev_t) -> UInt { (device >> 8) & 0xfff | (device >> 32) & ~0xfff }
    private static func minor(_ device: dev_t) -> UInt { device & 0xff | (device >> 12) & ~0xff }
}
