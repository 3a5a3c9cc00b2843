import Base
import BlockInterface

/// A block device that keeps nothing: writes are dropped and reads give zeroes. For measuring everything else.
///
/// A read gets zeroes that are there already, where its caller can send from lent memory. Into a buffer they are written, although that
/// costs time: it may hold what another host read or wrote before.
public final class NullDevice: BlockDevice {
    public let name: String
    public let geometry: BlockGeometry
    public let identity = BlockIdentity()

    /// - Parameters:
    ///   - byteCount: a multiple of `blockSize`; no memory is taken for it.
    ///   - blockSize: bytes of a logical block, a power of two from 512 to 65536.
    public init(byteCount: UInt64, blockSize: UInt32 = 512, name: String? = nil) throws(TercetError) {
        let name = name ?? "null:\(byteCount)"
        geometry = try memoryGeometry(name: name, byteCount: byteCount, blockSize: blockSize)
        self.name = name
    }

    public var lendsMemory: Bool { true }

    public func openChannel(depth: Int) throws(TercetError) -> BlockChannel {
        try MemoryChannel(ram: nil, geometry: geometry, depth: depth, name: name)
    }

    /// A null device never changes.
    public func refresh() -> BlockDeviceChange { .unchanged }
}
