import Base
import FabricInterface
import InitiatorTransport
import Memory

/// How callers make their memory known to the devices that an `RDMAInitiator` uses.
extension TransportDevice {
    /// The device as a connection's reactor has it; `nil` for a device of another transport.
    public var context: FabricContext? { registrar as? FabricContext }

    /// Registers an arena for the access that its use needs: `incoming` for memory that is read into, `outgoing` for memory that
    /// is written out.
    public func register(
        _ arena: RegisteredArena, access: MemoryAccess
    ) throws(TercetError) -> MemoryRegion {
        guard let context else {
            throw TercetError(call: "registration of memory", errno: 0, reason: "not a device for RDMA")
        }
        return try arena.register(with: context, access: access)
    }
}
