import Base
import CLinux
import CUring
import Glibc

/// The ublk driver of the kernel, which makes block devices `/dev/ublkbN` whose I/O this process does (Linux 6.5; linux/ublk_cmd.h).
///
/// A device outlives its process: I/O waits until another one has recovered it. Calls block; they need CAP_SYS_ADMIN.
public struct UblkControl: ~Copyable {
    private let descriptor: Int32
    private let ring: UnsafeMutablePointer<io_uring>

    /// How a device is to be.
    public struct Settings: Equatable, Sendable {
        /// Bytes.
        public var size: UInt64
        /// Bytes of a logical block: a power of two, from 512 to the size of a page.
        public var blockSize: UInt32
        public var hasVolatileCache: Bool
        public var canDeallocate: Bool
        /// The next process knows the device by it.
        public var mark: UInt64

        public init(size: UInt64, blockSize: UInt32, hasVolatileCache: Bool, canDeallocate: Bool, mark: UInt64) {
            self.size = size
            self.blockSize = blockSize
            self.hasVolatileCache = hasVolatileCache
            self.canDeallocate = canDeallocate
            self.mark = mark
        }
    }

    /// Throws `unsupported` where the kernel has no ublk driver, or its module is not loaded.
    public init() throws(TercetError) {
        (descriptor, ring) = try Self.open()
    }

    private static func open() throws(TercetError) -> (Int32, UnsafeMutablePointer<io_uring>) {
        let descriptor = Glibc.open("/dev/ublk-control", O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else {
            let code = errno
            guard code == ENOENT || code == ENODEV else { throw problem(code, "/dev/ublk-control") }
            throw TercetError(
                .unsupported, "the kernel has no ublk driver, or its module is not loaded: try modprobe ublk_drv")
        }
        let ring = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
        let result = tercet_uring_control(ring)
        guard result == 0 else {
            Glibc.close(descriptor)
            ring.deallocate()
            throw problem(-result, "io_uring cannot be had")
        }
        return (descriptor, ring)
    }

    deinit {
        io_uring_queue_exit(ring)
        ring.deallocate()
        close(descriptor)
    }

    /// Makes a device, whose queue is then to be served before it can be started; returns its number.
    public func add(_ settings: Settings) throws(TercetError) -> Int32 {
        var info = ublksrv_ctrl_dev_info()
        info.nr_hw_queues = 1
        info.queue_depth = UInt16(UblkQueue.depth)
        info.max_io_buf_bytes = UInt32(UblkQueue.longestRequest)
        info.dev_id = .max
        info.flags = tercet_UBLK_F_CMD_IOCTL_ENCODE | tercet_UBLK_F_USER_COPY | tercet_UBLK_F_USER_RECOVERY
        info.ublksrv_flags = settings.mark
        try call(UInt32(UBLK_CMD_ADD_DEV), .max, &info, "no device can be made")
        let index = Int32(bitPattern: info.dev_id)
        do throws(TercetError) {
            var parameters = Self.parameters(settings)
            try call(UInt32(UBLK_CMD_SET_PARAMS), info.dev_id, &parameters, "\(Self.path(index)) cannot be set up")
        } catch {
            try? delete(index)
            throw error
        }
        return index
    }

    private static func parameters(_ settings: Settings) -> ublk_params {
        var parameters = ublk_params()
        parameters.len = UInt32(MemoryLayout<ublk_params>.size)
        parameters.types = UInt32(UBLK_PARAM_TYPE_BASIC)
        let shift = UInt8(settings.blockSize.trailingZeroBitCount)
        parameters.basic.attrs = settings.hasVolatileCache ? UInt32(UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA) : 0
        parameters.basic.logical_bs_shift = shift
        parameters.basic.physical_bs_shift = max(shift, 12)
        parameters.basic.io_min_shift = max(shift, 12)
        parameters.basic.io_opt_shift = max(shift, 12)
        parameters.basic.max_sectors = UInt32(UblkQueue.longestRequest >> 9)
        parameters.basic.dev_sectors = settings.size >> 9
        guard settings.canDeallocate else { return parameters }
        parameters.types |= UInt32(UBLK_PARAM_TYPE_DISCARD)
        parameters.discard.discard_granularity = settings.blockSize
        parameters.discard.max_discard_sectors = UInt32(UblkQueue.longestRange >> 9)
        parameters.discard.max_write_zeroes_sectors = UInt32(UblkQueue.longestRange >> 9)
        parameters.discard.max_discard_segments = 1
        return parameters
    }

    /// Starts a device whose queue is served. Its first blocks are read before this returns.
    public func start(_ index: Int32) throws(TercetError) {
        try call(UInt32(UBLK_CMD_START_DEV), index, "\(Self.path(index)) cannot be started", data: UInt64(getpid()))
    }

    /// Begins to take over a device whose process has ended. Throws `inUse` while the kernel has not noticed that: a moment later it
    /// may have.
    public func beginRecovery(_ index: Int32) throws(TercetError) {
        try call(UInt32(UBLK_CMD_START_USER_RECOVERY), index, "\(Self.path(index)) cannot be taken over")
    }

    /// Lets the I/O of a device go on whose queue is served now.
    public func endRecovery(_ index: Int32) throws(TercetError) {
        try call(
            UInt32(UBLK_CMD_END_USER_RECOVERY), index, "\(Self.path(index)) cannot be served again",
            data: UInt64(getpid()))
    }

    /// Ends a device: what is under way is answered, and everything after it fails.
    public func stop(_ index: Int32) throws(TercetError) {
        try call(UInt32(UBLK_CMD_STOP_DEV), index, "\(Self.path(index)) cannot be stopped")
    }

    /// Forgets a device that has been stopped, and whose queue is not served any more.
    public func delete(_ index: Int32) throws(TercetError) {
        try call(UInt32(UBLK_CMD_DEL_DEV), index, "\(Self.path(index)) cannot be removed")
    }

    /// The mark of a device; `nil` where there is none of that number.
    public func mark(of index: Int32) -> UInt64? {
        var info = ublksrv_ctrl_dev_info()
        let length = UInt16(MemoryLayout<ublksrv_ctrl_dev_info>.size)
        let result = tercet_ublk_control(
            ring, descriptor, UInt32(UBLK_CMD_GET_DEV_INFO), 1, UInt32(bitPattern: index), &info, length, 0)
        return result == 0 ? info.ublksrv_flags : nil
    }

    /// The device with a mark; `nil` where there is none.
    public func find(mark: UInt64) -> Int32? {
        guard let folder = opendir("/sys/class/ublk-char") else { return nil }
        defer { closedir(folder) }
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard name.hasPrefix("ublkc"), let index = Int32(name.dropFirst(5)), self.mark(of: index) == mark else {
                continue
            }
            return index
        }
        return nil
    }

    /// The path of a device.
    public static func path(_ index: Int32) -> String { "/dev/ublkb\(index)" }

    // MARK: Commands

    private func call<Buffer>(
        _ command: UInt32, _ device: UInt32, _ buffer: inout Buffer, _ text: String
    ) throws(TercetError) {
        let length = UInt16(MemoryLayout<Buffer>.size)
        let result = withUnsafeMutablePointer(to: &buffer) {
            tercet_ublk_control(ring, descriptor, command, 0, device, $0, length, 0)
        }
        if result < 0 { throw Self.problem(-result, text) }
    }

    private func call(_ command: UInt32, _ index: Int32, _ text: String, data: UInt64 = 0) throws(TercetError) {
        let result = tercet_ublk_control(ring, descriptor, command, 0, UInt32(bitPattern: index), nil, 0, data)
        if result < 0 { throw Self.problem(-result, text) }
    }

    static func problem(_ code: Int32, _ text: String) -> TercetError {
        if code == EPERM || code == EACCES {
            return TercetError(.notPermitted, "\(text): only root, or a process with CAP_SYS_ADMIN, may do that")
        }
        if code == EBUSY { return TercetError(.inUse, "\(text): it is in use") }
        return TercetError(call: text, errno: code, reason: String(cString: strerror(code)))
    }
}
