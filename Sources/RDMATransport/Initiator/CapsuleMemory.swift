import Base
import FabricInterface
import InitiatorTransport
import Memory
import NVMeSpec

/// The places of a queue pair's capsules and answers. Plain data.
struct HostCapsules: BitwiseCopyable {
    /// Capsules, one for each command.
    private let capsules: UnsafeMutableRawPointer
    /// Answers, one for each receive buffer.
    private let answers: UnsafeMutableRawPointer
    /// Of each command, the key that it asked the controller to invalidate, with bit 32 set; 0 for none.
    private let invalidations: UnsafeMutablePointer<UInt64>
    let localKey: UInt32

    fileprivate init(
        _ base: UnsafeMutableRawPointer, depth: Int, _ invalidations: UnsafeMutablePointer<UInt64>, localKey: UInt32
    ) {
        capsules = base
        answers = base + depth * HostLimits.capsuleStride
        self.invalidations = invalidations
        self.localKey = localKey
    }

    @inline(__always)
    subscript(command: CommandIndex) -> UnsafeMutableRawPointer {
        capsules + command.offset * HostLimits.capsuleStride
    }

    @inline(__always)
    func answer(_ buffer: Int) -> UnsafeMutableRawPointer { answers + buffer * CompletionEntry.byteCount }

    /// Notes that a command asks for the invalidation of a key, or of none.
    @inline(__always)
    func expectInvalidation(of key: UInt32?, by command: CommandIndex) {
        invalidations[command.offset] = key.map { 1 << 32 | UInt64($0) } ?? 0
    }

    func isExpected(_ key: UInt32, by command: CommandIndex) -> Bool {
        invalidations[command.offset] == 1 << 32 | UInt64(key)
    }
}

/// The registered memory of one queue pair.
final class CapsuleMemory {
    let capsules: HostCapsules
    private let arena: RegisteredArena
    private let invalidations: UnsafeMutablePointer<UInt64>

    init(_ context: FabricContext, depth: Int, receives: Int) throws(ConnectionFailure) {
        // One registration for both: devices have few, and no peer is given its key.
        let capsuleBytes = depth * HostLimits.capsuleStride
        do { arena = try RegisteredArena(bytes: capsuleBytes + receives * CompletionEntry.byteCount) } catch {
            throw .resources(error.description)
        }
        let region: MemoryRegion
        do { region = try arena.register(with: context, access: [.localWrite]) } catch { throw .call(error) }
        invalidations = .allocate(capacity: depth)
        invalidations.initialize(repeating: 0, count: depth)
        capsules = HostCapsules(arena.memory.baseAddress!, depth: depth, invalidations, localKey: region.localKey)
    }

    deinit { invalidations.deallocate() }
}
