import Base
import BlockInterface
import CLinux
import Glibc
import SystemPackage

/// A block device in this process's memory. Its contents are gone when the process ends.
public final class RAMDevice: BlockDevice {
    public let name: String
    public let geometry: BlockGeometry
    public let identity = BlockIdentity()
    nonisolated(unsafe) let memory: UnsafeMutableRawBufferPointer
    /// Makes a write of one thread all there or not there for another.
    let ranges = RangeLock()
    let touched: TouchedPieces
    public let remarks: [String]
    /// The time that each request takes at the least, in nanoseconds.
    let latencyNanoseconds: UInt64

    /// - Parameters:
    ///   - byteCount: a multiple of `blockSize`. The memory is taken from the system as it is first touched.
    ///   - blockSize: bytes of a logical block, a power of two from 512 to 65536.
    ///   - isPopulated: all of the memory is taken now, from huge pages where the system has enough of them set aside.
    ///   - latencyMicroseconds: the time that each request takes at the least, as one of a drive does: for measuring all else.
    public init(
        byteCount: UInt64, blockSize: UInt32 = 512, isPopulated: Bool = false, latencyMicroseconds: UInt32 = 0,
        name: String? = nil
    ) throws(TercetError) {
        let name = name ?? "ram:\(byteCount)"
        geometry = try memoryGeometry(name: name, byteCount: byteCount, blockSize: blockSize)
        self.name = name
        latencyNanoseconds = UInt64(latencyMicroseconds) * 1000
        let size = Int(byteCount)
        let machineBytes = UInt64(max(0, sysconf(Int32(_SC_PHYS_PAGES)))) * UInt64(max(0, sysconf(Int32(_SC_PAGESIZE))))
        remarks =
            byteCount > machineBytes
            ? [
                "\(name): is larger than this machine's memory of \(machineBytes) bytes: when hosts have written so much, the "
                    + "system ends the daemon"
            ] : []
        let mapped = isPopulated ? Self.mapPopulated(size) : Self.map(size, MAP_NORESERVE)
        guard let mapped else {
            throw TercetError(
                .exhausted, "\(name): \(byteCount) bytes of memory could not be had: \(Errno(rawValue: errno))")
        }
        memory = mapped
        touched = TouchedPieces(byteCount: byteCount)
        if isPopulated { touched.touch(0, byteCount) }
    }

    /// A reactor touches sparse memory for the first time: the system is not asked for huge pages then,
    /// for which it would move other memory about, some milliseconds for each.
    private static func map(_ size: Int, _ flags: Int32) -> UnsafeMutableRawBufferPointer? {
        let address = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0)
        guard let address, address != MAP_FAILED else { return nil }
        return UnsafeMutableRawBufferPointer(start: address, count: size)
    }

    private static func mapPopulated(_ size: Int) -> UnsafeMutableRawBufferPointer? {
        // Fails at once where not enough huge pages are set aside, or where the size is not made of them.
        if let huge = map(size, MAP_HUGETLB | MAP_POPULATE) { return huge }
        guard let plain = map(size, 0) else { return nil }
        _ = madvise(plain.baseAddress, size, MADV_HUGEPAGE)
        // A kernel that does not know the advice (before 5.14) gives the memory by being written to.
        if madvise(plain.baseAddress, size, tercet_MADV_POPULATE_WRITE) != 0 {
            if errno != EINVAL {
                munmap(plain.baseAddress, size)
                return nil
            }
            plain.initializeMemory(as: UInt8.self, repeating: 0)
        }
        return plain
    }

    deinit { munmap(memory.baseAddress, memory.count) }

    /// All of the device. Deallocating keeps the pages: they may be registered.
    public var directMemory: UnsafeMutableRawBufferPointer? { memory }

    /// The place in the device of something in its memory.
    func offset(of start: UnsafeMutableRawPointer) -> UInt64 { UInt64(start - (memory.baseAddress ?? start)) }

    public func openChannel(depth: Int) throws(TercetError) -> BlockChannel {
        try MemoryChannel(ram: self, geometry: geometry, depth: depth, name: name)
    }

    /// A RAM device never changes.
    public func refresh() -> BlockDeviceChange { .unchanged }
}

/// A write of so many bytes, and no more, is seen whole or not at all by every read.
private let atomicBytes: UInt32 = 64 << 10

/// The geometry of a device without media.
func memoryGeometry(name: String, byteCount: UInt64, blockSize: UInt32) throws(TercetError) -> BlockGeometry {
    guard BlockGeometry.isBlockSize(blockSize) else {
        throw TercetError(
            .invalid, "\(name): a block size of \(blockSize) bytes is not possible; a power of two from 512 to 65536 is"
        )
    }
    guard byteCount > 0, byteCount <= UInt64(Int.max) else {
        throw TercetError(.invalid, "\(name): a size of \(byteCount) bytes is not possible")
    }
    guard byteCount % UInt64(blockSize) == 0 else {
        throw TercetError(
            .invalid, "\(name): its size of \(byteCount) bytes is no multiple of the block size of \(blockSize) bytes")
    }
    return BlockGeometry(
        blockSize: blockSize, blockCount: byteCount / UInt64(blockSize), hasVolatileWriteCache: false,
        atomicWriteSize: max(blockSize, atomicBytes), memoryAlignment: 1, canDeallocate: true,
        deallocatedReadsZeroes: true)
}
