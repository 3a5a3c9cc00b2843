import Base
import FabricInterface

/// The keys of an arena on one device, one for each direction of data. Each opens the memory to peers no further than its
/// direction needs.
public struct TransferKeys: BitwiseCopyable, Sendable {
    /// For data that a peer writes into the memory.
    public var incoming: MemoryRegion
    /// For data that a peer reads from the memory.
    public var outgoing: MemoryRegion

    /// No keys at all.
    public init() {
        incoming = MemoryRegion(handle: 0, localKey: 0, remoteKey: 0)
        outgoing = incoming
    }

    init(incoming: MemoryRegion, outgoing: MemoryRegion) {
        self.incoming = incoming
        self.outgoing = outgoing
    }

    /// The key for one direction.
    @inline(__always)
    public func region(isIncoming: Bool) -> MemoryRegion { isIncoming ? incoming : outgoing }
}

extension MemoryAccess {
    /// A peer writes into the memory: what a command that reads needs.
    public static let incoming: MemoryAccess = [.localWrite, .remoteWrite]
    /// A peer reads from the memory: what a command that writes needs.
    public static let outgoing: MemoryAccess = [.remoteRead]
}

extension RegisteredArena {
    /// The arena's registrations with the device of `context`, one for each direction; made when first asked for, and
    /// kept as long as the arena.
    public func transferKeys(with context: FabricContext) throws(TercetError) -> TransferKeys {
        TransferKeys(
            incoming: try register(with: context, access: .incoming),
            outgoing: try register(with: context, access: .outgoing))
    }
}
