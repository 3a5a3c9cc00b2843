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

    /// - Parameters:
    ///   - byteCount: a multiple of `blockSize`. The memory is taken from the system as it is first touched.
    ///   - blockSize: bytes of a logical block, a power of two from 512 to 65536.
    public init(byteCount: UInt64, blockSize: UInt32 = 512, name: String? = nil) throws(TercetError) {
        let name = name ?? "ram:\(byteCount)"
        geometry = try memoryGeometry(name: name, byteCount: byteCount, blockSize: blockSize)
        self.name = name
        let size = Int(byteCount)
        let address = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let address, address != MAP_FAILED else {
            throw TercetError(
                .exhausted,
                "\(name): \(byteCount) bytes of memory could not be had: \(Errno(rawValue: errno))")
        }
        // Huge pages if the system has them; it works as well without.
        _ = madvise(address, size, MADV_HUGEPAGE)
        memory = UnsafeMutableRawBufferPointer(start: address, count: size)
        touched = TouchedPieces(byteCount: byteCount)
    }

    deinit { munmap(memory.baseAddress, memory.count) }

    /// All of the device. Deallocating keeps the pages: they may be registered.
    public var directMemory: UnsafeMutableRawBufferPointer? { memory }

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
