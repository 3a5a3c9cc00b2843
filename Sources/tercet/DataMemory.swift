import FabricInterface
import Memory
import NVMeInitiator

/// Memory for data, registered for one direction only.
final class DataMemory: Sendable {
    enum Direction: Sendable {
        /// The target writes into it.
        case reading
        /// The target reads from it.
        case writing
    }

    let arena: RegisteredArena
    let segment: IOSegment

    init(_ queue: IOQueue, bytes: Int, for direction: Direction) async throws {
        do { arena = try RegisteredArena(bytes: bytes) } catch { throw CommandFailure("\(error)") }
        let arena = arena
        let access: MemoryAccess = direction == .reading ? [.localWrite, .remoteWrite] : [.remoteRead]
        let result = await queue.group.run { () -> Result<MemoryRegion, FabricError>? in
            guard let context = queue.context else { return nil }
            return Result { () throws(FabricError) in try arena.register(with: context, access: access) }
        }
        switch result {
        case nil: throw CommandFailure("the connection was lost")
        case .failure(let error): throw CommandFailure("\(error)")
        case .success(let region):
            segment = IOSegment(
                address: arena.memory.baseAddress!, length: bytes, localKey: region.localKey,
                remoteKey: region.remoteKey)
        }
    }

    /// A part of it.
    func part(_ offset: Int, _ length: Int) -> IOSegment {
        IOSegment(
            address: segment.address + offset, length: length, localKey: segment.localKey,
            remoteKey: segment.remoteKey)
    }
}
