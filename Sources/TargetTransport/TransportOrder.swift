import Base
import NVMeSpec

/// An order of the engine to a port. Orders are carried out in their order, once a round. Plain data.
public enum TransportOrder: BitwiseCopyable {
    case fetch(Fetch)
    case answer(Answer)
    /// The buffer of a capsule is not needed any more.
    case giveBack(CapsuleIndex)
    /// A request that was lent memory ends without an answer.
    case endLoan(RequestIndex)
    /// Ends a connection. What is fetched or answered on it ends as an event of its own.
    case close(ConnectionIndex)
    /// No request refers to a closed connection any more: its index may be another's when the transport has done with it.
    case release(ConnectionIndex)
}

/// Gets a command's data from the host.
public struct Fetch: BitwiseCopyable {
    public var request: RequestIndex
    public var connection: ConnectionIndex
    public var shape: DataShape
    /// The capsule, which stays where it is until the fetch has ended.
    public var capsule: UnsafeMutableRawPointer
    /// Memory of the port for `shape.byteCount` bytes.
    public var destination: UnsafeMutableRawPointer

    @inlinable
    public init(
        _ request: RequestIndex, on connection: ConnectionIndex, shape: DataShape, capsule: UnsafeMutableRawPointer,
        into destination: UnsafeMutableRawPointer
    ) {
        self.request = request
        self.connection = connection
        self.shape = shape
        self.capsule = capsule
        self.destination = destination
    }
}

/// Answers a command, with data for the host or without.
public struct Answer: BitwiseCopyable {
    public var request: RequestIndex
    public var connection: ConnectionIndex
    /// The buffer of the capsule, where the request still has it: the port has it back when the answer is posted.
    public var buffer: CapsuleIndex
    /// Bytes to send; 0 for none.
    public var byteCount: UInt32
    public var shape: DataShape
    public var capsule: UnsafeMutableRawPointer
    /// Memory of the port, or memory that it was lent.
    public var source: UnsafeMutableRawPointer?
    public var entry: CompletionEntry

    @inlinable
    public init(
        _ request: RequestIndex, on connection: ConnectionIndex, buffer: CapsuleIndex, shape: DataShape,
        capsule: UnsafeMutableRawPointer, source: UnsafeMutableRawPointer?, byteCount: UInt32, entry: CompletionEntry
    ) {
        self.request = request
        self.connection = connection
        self.buffer = buffer
        self.byteCount = byteCount
        self.shape = shape
        self.capsule = capsule
        self.source = source
        self.entry = entry
    }
}

/// Memory of a namespace that an answer is to be sent from.
public struct Loan: BitwiseCopyable {
    public var request: RequestIndex
    /// The memory that may be made known to the device: the range that is read lies within.
    public var start: UnsafeMutableRawPointer
    public var byteCount: Int
    /// The transport can send from there.
    public var isTaken = false

    @inlinable
    public init(_ request: RequestIndex, start: UnsafeMutableRawPointer, byteCount: Int) {
        self.request = request
        self.start = start
        self.byteCount = byteCount
    }
}
