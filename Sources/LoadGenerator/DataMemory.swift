import Base
import FabricInterface
import InitiatorTransport
import Memory
import NVMeInitiator
import RDMATransport

/// Memory for data, registered for one direction only.
public final class DataMemory: Sendable {
    public enum Direction: Sendable {
        /// The target writes into it.
        case reading
        /// The target reads from it.
        case writing
    }

    let arena: RegisteredArena
    public let segment: IOSegment

    public init(_ queue: IOQueue, bytes: Int, for direction: Direction) async throws {
        let arena = try RegisteredArena(bytes: bytes)
        self.arena = arena
        let access: MemoryAccess = direction == .reading ? .incoming : .outgoing
        let answer = await queue.withDevice { device in
            Result { () throws(TercetError) in try device.register(arena, access: access) }
        }
        guard let region = try answer?.get() else { throw TercetError(.unavailable, "the connection was lost") }
        segment = IOSegment(
            address: arena.memory.baseAddress!, length: bytes, localKey: region.localKey, remoteKey: region.remoteKey)
    }

    /// A part of it.
    public func part(_ offset: Int, _ length: Int) -> IOSegment {
        IOSegment(
            address: segment.address + offset, length: length, localKey: segment.localKey,
            remoteKey: segment.remoteKey)
    }
}
