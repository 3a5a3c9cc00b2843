import FabricInterface
import Memory
import NVMeInitiator

/// The volume's registered memory: the engine's own pages, and buffers for the volume's user. Registered once with each
/// device, so that one write is read by three targets from the same place.
public final class VolumeMemory: @unchecked Sendable {
    /// What the two arenas are called on one device.
    struct Keys {
        var engine = MemoryRegion(handle: 0, localKey: 0, remoteKey: 0)
        var buffers = MemoryRegion(handle: 0, localKey: 0, remoteKey: 0)
    }

    let engine: RegisteredArena
    let buffers: RegisteredArena
    private let pool: DataPool

    init(engineBytes: Int, bufferBytes: Int) throws(MemoryError) {
        engine = try RegisteredArena(bytes: engineBytes)
        buffers = try RegisteredArena(bytes: bufferBytes)
        pool = DataPool(buffers, reservedBytes: 0)
    }

    /// A buffer for I/O on the volume, or `nil` when none is left. On the group's thread.
    public func allocate(_ bytes: Int) -> UnsafeMutableRawPointer? { pool.allocate(bytes, priority: .io) }

    /// Gives a buffer back. On the group's thread.
    public func free(_ buffer: UnsafeMutableRawPointer) { pool.free(buffer) }

    /// Registers both arenas with a device.
    func keys(on context: FabricContext) throws(FabricError) -> Keys {
        let access: MemoryAccess = [.localWrite, .remoteRead, .remoteWrite]
        return Keys(
            engine: try engine.register(with: context, access: access),
            buffers: try buffers.register(with: context, access: access))
    }
}
