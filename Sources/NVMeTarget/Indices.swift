import Base

/// A reactor's channel to a block device: its place in the reactor's `BlockSet`.
struct ChannelIndex: SlotIndex {
    let position: UInt32
    init(position: UInt32) { self.position = position }
}

/// A host's place among the hosts of a subsystem, as long as something of it is there.
struct HostIndex: SlotIndex {
    let position: UInt32
    init(position: UInt32) { self.position = position }
}

/// A controller's place in its poll group's table; each connection has a place of its own.
struct ControllerPlace: SlotIndex {
    let position: UInt32
    init(position: UInt32) { self.position = position }
}
