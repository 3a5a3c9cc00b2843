import Base
import Buffers
import FabricInterface
import Memory
import NVMeInitiator

/// The volume's registered memory: the engine's own pages, and buffers for a user who brings no memory along. Registered
/// once with each device and direction, so that one write is read by three targets from the same place.
public final class VolumeMemory: HostMemory, @unchecked Sendable {
    let engine: RegisteredArena
    private let buffers: RegisteredArena?
    private let pool: DataPool?
    /// Zeroes to write to members without Write Zeroes, once there is such a member.
    private var zeroArena: RegisteredArena?
    private var devices: [(domain: UInt, keys: TransferKeys)] = []

    /// - Parameter bufferBytes: 0 for no buffers.
    init(engineBytes: Int, bufferBytes: Int) throws(MemoryError) {
        engine = try RegisteredArena(bytes: engineBytes)
        buffers = bufferBytes > 0 ? try RegisteredArena(bytes: bufferBytes) : nil
        pool = buffers.map { DataPool($0.memory, reservedBytes: 0) }
        super.init()
    }

    /// A buffer for I/O on the volume, or `nil` when none is left. On the group's thread.
    public func allocate(_ bytes: Int) -> UnsafeMutableRawPointer? { pool?.allocate(bytes, priority: .io) }

    /// Gives a buffer back. On the group's thread.
    public func free(_ buffer: UnsafeMutableRawPointer) { pool?.free(buffer) }

    /// `bytes` of zeroes for a member whose target has no Write Zeroes. On the group's thread.
    func zeroes(_ bytes: Int, with context: FabricContext) throws -> IOSegment {
        let arena = try zeroArena ?? RegisteredArena(bytes: bytes)
        zeroArena = arena
        guard let base = arena.memory.baseAddress else { invariantViolated("an arena has memory") }
        return IOSegment(base, bytes, try arena.register(with: context, access: .outgoing))
    }

    public override func device(_ context: FabricContext) throws(FabricError) -> Int {
        let domain = context.domain
        if let known = devices.firstIndex(where: { $0.domain == domain }) { return known }
        devices.append((domain, try buffers?.transferKeys(with: context) ?? TransferKeys()))
        return devices.count - 1
    }

    /// `buffer` is an address within a buffer that `allocate` gave out.
    public override func segment(_ buffer: UInt64, length: Int, isIncoming: Bool, device: Int) -> IOSegment? {
        guard let address = UnsafeMutableRawPointer(bitPattern: UInt(buffer)) else { return nil }
        return IOSegment(address, length, devices[device].keys.region(isIncoming: isIncoming))
    }
}

extension IOSegment {
    /// Memory under the keys of its region.
    @inline(__always)
    init(_ address: UnsafeMutableRawPointer, _ length: Int, _ region: MemoryRegion) {
        self.init(address: address, length: length, localKey: region.localKey, remoteKey: region.remoteKey)
    }
}
