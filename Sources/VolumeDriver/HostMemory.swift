import Base
import FabricInterface
import InitiatorTransport
import NVMeInitiator

/// The memory that a volume's user does I/O with: says what it is called on the members' devices. All calls are made on
/// the group's thread.
///
/// An abstract class and not a protocol: it is asked once for each command.
open class HostMemory: @unchecked Sendable {
    // Unchecked: all calls are made on the group's thread.

    public init() {}

    /// A member is connected over a device. Throws where the memory cannot be registered with it: then the connection is of
    /// no use.
    ///
    /// - Returns: the device's number, which `segment` is called with.
    open func device(_ context: FabricContext) throws(TercetError) -> Int { throw Self.isAbstract }

    /// The name on a device of `length` bytes of the memory that `HostRequest.buffer` names; `nil` if they cannot be registered
    /// now.
    ///
    /// - Parameter isIncoming: whether the member writes into the memory.
    open func segment(_ buffer: UInt64, length: Int, isIncoming: Bool, device: Int) -> IOSegment? { nil }

    private static var isAbstract: TercetError {
        TercetError(call: "memory of a volume's user", errno: 0, reason: "there is none")
    }
}
