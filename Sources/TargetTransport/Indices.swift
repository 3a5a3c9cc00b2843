import Base

/// A command that the target works on. The engine numbers its requests; a transport keeps what it has of one at the same
/// place.
public struct RequestIndex: SlotIndex {
    public let position: UInt32
    @inlinable public init(position: UInt32) { self.position = position }
}

/// A connection of a port, which carries one queue of a host. The port numbers them; the engine keeps what it knows of one at
/// the same place.
public struct ConnectionIndex: SlotIndex {
    public let position: UInt32
    @inlinable public init(position: UInt32) { self.position = position }
}

/// A buffer of a port that a capsule arrived in.
public struct CapsuleIndex: SlotIndex {
    public let position: UInt32
    @inlinable public init(position: UInt32) { self.position = position }
}

/// A port of a reactor's transport.
public struct PortIndex: SlotIndex {
    public let position: UInt32
    @inlinable public init(position: UInt32) { self.position = position }
}
