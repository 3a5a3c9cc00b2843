import FabricInterface
import Memory

/// Registered memory for the data of control commands, of one device group: one part that controllers may read, one that
/// they may write.
final class ControlBuffers {
    private struct Part {
        let arena: RegisteredArena
        let region: MemoryRegion
        var free: [Int]

        init(_ context: FabricContext, _ access: MemoryAccess) throws(InitiatorError) {
            do { arena = try RegisteredArena(bytes: Limits.controlBuffers * Limits.controlBufferBytes) } catch {
                throw .resources(error.description)
            }
            do { region = try arena.register(with: context, access: access) } catch { throw .fabric(error) }
            free = Array((0..<Limits.controlBuffers).reversed())
        }

        var base: UnsafeMutableRawPointer { arena.memory.baseAddress! }
    }

    private var outgoing: Part
    private var incoming: Part

    init(context: FabricContext) throws(InitiatorError) {
        outgoing = try Part(context, .remoteRead)
        incoming = try Part(context, [.localWrite, .remoteWrite])
    }

    /// A buffer for data to or from a controller.
    func take(toController: Bool, length: Int) throws(InitiatorError) -> IOSegment {
        let taken = toController ? outgoing.free.popLast() : incoming.free.popLast()
        guard let taken, length <= Limits.controlBufferBytes else {
            throw .resources("more than \(Limits.controlBuffers) control commands at once")
        }
        let part = toController ? outgoing : incoming
        return IOSegment(
            address: part.base + taken * Limits.controlBufferBytes, length: length, localKey: part.region.localKey,
            remoteKey: part.region.remoteKey)
    }

    /// Gives a buffer back; only once no controller can reach it any more.
    func give(_ segment: IOSegment, toController: Bool) {
        if toController {
            outgoing.free.append((segment.address - outgoing.base) / Limits.controlBufferBytes)
        } else {
            incoming.free.append((segment.address - incoming.base) / Limits.controlBufferBytes)
        }
    }
}
