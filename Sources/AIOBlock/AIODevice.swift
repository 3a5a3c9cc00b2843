import Base
import BlockInterface
import CLinux
import Glibc
import Synchronization

/// How an `AIODevice` is opened.
public struct AIODeviceOptions: Equatable, Sendable {
    /// Logical block size that a regular file is given, in bytes; `nil` takes 512, or what the file system's O_DIRECT
    /// needs if that is more. A block device has its own, which this must equal.
    public var blockSize: UInt32?
    /// Opens for reading only.
    public var readOnly: Bool
    /// Uses the page cache even if O_DIRECT would work.
    public var buffered: Bool
    /// Largest transfer that is handed to the kernel at once, in bytes; a longer request is cut into several.
    public var maximumTransfer: UInt32

    /// Ways around what the system offers, taken although it offers it; for tests.
    package var detours: Detours = []

    /// As the system offers, unless told otherwise.
    public init(
        blockSize: UInt32? = nil, readOnly: Bool = false, buffered: Bool = false,
        maximumTransfer: UInt32 = 16 << 20
    ) {
        self.blockSize = blockSize
        self.readOnly = readOnly
        self.buffered = buffered
        self.maximumTransfer = maximumTransfer
    }
}

/// Detours around what the system lacks.
package struct Detours: OptionSet, Equatable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    /// The completion ring's layout is unknown: completions are fetched with io_getevents.
    package static let systemCallForCompletions = Detours(rawValue: 1 << 0)
    /// There is no asynchronous fdatasync: the worker does it.
    package static let flushInWorker = Detours(rawValue: 1 << 1)
    /// The file system has no fallocate: zeroes are written.
    package static let noFallocate = Detours(rawValue: 1 << 2)
}

/// A block device or a regular file, used through libaio and, if the file system allows, O_DIRECT.
///
/// What the kernel can only do while its caller waits (fallocate, BLKZEROOUT, BLKDISCARD) is done by one thread of the
/// device's own, so that no reactor waits.
public final class AIODevice: BlockDevice {
    /// The path.
    public let name: String
    /// Identifiers that sysfs knows of a block device; none of a file.
    public let identity: BlockIdentity
    /// Remarks on the opening, such as that the file system refuses O_DIRECT.
    public let remarks: [String]
    /// Transfers go straight between the caller's memory and the device. If the file system refuses that, they go
    /// through the page cache, submitting waits for the copy, and FUA and flush write the cache back.
    public let isDirect: Bool

    let descriptor: Int32
    let kind: Kind
    let options: AIODeviceOptions
    let worker: Worker
    let fixedGeometry: BlockGeometry
    /// Bytes of the device as of the last `refresh`: the one part of the geometry that changes.
    let byteCount: Atomic<UInt64>
    let isGone = Atomic<Bool>(false)
    private let failureCount = Atomic<UInt64>(0)
    private let noSpaceCount = Atomic<UInt64>(0)
    private let lastError = Atomic<Int32>(0)
    private let closed = OneTimeEvent()
    /// Comes when the descriptor is closed and the lock on the file is gone.
    public var closing: OneTimeEvent? { closed }
    /// Keeps what changes a range away from a comparison and write of it. Shared by all others, in all channels.
    let changes = RangeLock()

    enum Kind: Equatable {
        case file
        /// A block device and the folder that describes it in sysfs.
        case blockDevice(sysfs: String)
    }

    /// Opens the device and takes it: a block device must not be mounted or otherwise in use, and a file that another
    /// process has open for the same purpose is refused.
    /// - Throws: one line that says what is wrong with `path`.
    public convenience init(
        path: String, options: AIODeviceOptions = AIODeviceOptions()
    ) throws(TercetError) {
        try self.init(path: path, options: options, sysfsRoot: "/sys")
    }

    /// - Parameter sysfsRoot: where sysfs is mounted; tests bring their own.
    init(path: String, options: AIODeviceOptions, sysfsRoot: String) throws(TercetError) {
        let opened = try OpenedFile(path: path, options: options, sysfsRoot: sysfsRoot)
        name = path
        identity = opened.identity
        remarks = opened.remarks
        isDirect = opened.isDirect
        descriptor = opened.descriptor
        kind = opened.kind
        self.options = options
        fixedGeometry = opened.geometry
        byteCount = Atomic(opened.geometry.byteCount)
        worker = Worker(
            commands: BlockingCommands(
                descriptor: opened.descriptor, kind: opened.kind, hasFallocate: !options.detours.contains(.noFallocate))
        )
    }

    deinit {
        worker.stop()
        OpenedFile.release(descriptor)
        closed.signal()
    }

    /// Operations that the kernel has failed since the device was opened.
    public var failures: DeviceFailures {
        DeviceFailures(
            count: failureCount.load(ordering: .relaxed), noSpaceCount: noSpaceCount.load(ordering: .relaxed),
            lastError: lastError.load(ordering: .relaxed))
    }

    /// An operation has failed. From any thread.
    package func noteFailure(_ code: Int32) {
        lastError.store(code, ordering: .relaxed)
        if code == ENOSPC || code == EDQUOT { noSpaceCount.add(1, ordering: .relaxed) }
        failureCount.add(1, ordering: .relaxed)
    }

    /// An operation that had to wait has failed; what is left of the reason is its status.
    func noteFailure(_ status: BlockStatus) {
        switch status {
        case .capacityExceeded: noteFailure(ENOSPC)
        case .deviceGone: noteFailure(ENODEV)
        case .writeProtected: noteFailure(EROFS)
        case .unrecoveredReadError, .writeFault, .internalError: noteFailure(EIO)
        case .success, .outOfRange, .compareFailure, .unsupported, .unavailable, .fenced, .aborted: break
        }
    }

    /// Nothing can be read from it any more, or its path leads to another file. Reads a block: it may wait for the device.
    public var isStale: Bool {
        let failures = failures
        guard failures.count > failures.noSpaceCount else { return false }
        var open = stat()
        var present = stat()
        guard fstat(descriptor, &open) == 0, stat(name, &present) == 0 else { return false }
        if (open.st_dev, open.st_ino, open.st_rdev) != (present.st_dev, present.st_ino, present.st_rdev) { return true }
        let memory = UnsafeMutableRawPointer.allocate(byteCount: 65536, alignment: 65536)
        defer { memory.deallocate() }
        return pread(descriptor, memory, Int(fixedGeometry.blockSize), 0) < 0
    }

    /// The geometry that was found at the opening, with the size as of the last `refresh`.
    public var geometry: BlockGeometry {
        var geometry = fixedGeometry
        geometry.blockCount = byteCount.load(ordering: .relaxed) / UInt64(geometry.blockSize)
        return geometry
    }

    /// Asks the kernel for the size: a system call or two.
    public func refresh() -> BlockDeviceChange {
        if isGone.load(ordering: .relaxed) { return .vanished }
        guard let size = presentSize() else {
            isGone.store(true, ordering: .relaxed)
            return .vanished
        }
        // The tail of a file that was cut within a block is not there for us.
        let whole = size - size % UInt64(fixedGeometry.blockSize)
        let before = byteCount.exchange(whole, ordering: .relaxed)
        return before == whole ? .unchanged : .resized
    }

    /// Opens an AIO context of its own for a reactor; `depth` is 1 to 32768, and the system has to have room for it
    /// (`/proc/sys/fs/aio-max-nr`).
    public func openChannel(depth: Int) throws(TercetError) -> BlockChannel {
        try AIOChannel(device: self, depth: depth)
    }

    /// The device's size in bytes now, or `nil` if it is no longer there.
    func presentSize() -> UInt64? {
        switch kind {
        case .file:
            var status = stat()
            guard fstat(descriptor, &status) == 0, status.st_nlink > 0, status.st_size >= 0 else { return nil }
            return UInt64(status.st_size)
        case .blockDevice(let sysfs):
            // A removed device's descriptor still answers; only its folder in sysfs has gone.
            guard access(sysfs, F_OK) == 0 else { return nil }
            var size: UInt64 = 0
            guard ioctl(descriptor, tercet_BLKGETSIZE64, &size) == 0, size > 0 else { return nil }
            return size
        }
    }
}
