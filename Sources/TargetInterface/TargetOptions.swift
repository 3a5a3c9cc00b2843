/// Sizes of a target and its transports: the only place in which they are said. They hold from its start on: all memory of the
/// I/O path is allocated from them when a reactor meets a device.
public struct TargetOptions: Sendable, Equatable {
    /// Entries of an I/O queue, at most 1024; CAP.MQES + 1.
    public var queueDepth: Int
    /// I/O queues of one controller, at most 64.
    public var maxIOQueues: Int
    /// Bytes of data that a command capsule may carry; a multiple of 16, 0 for none.
    public var inCapsuleDataSize: Int
    /// Largest data transfer of one command, in bytes: a power of two from 4096.
    public var maxTransferSize: Int
    /// Buffers of the shared receive queue of one reactor and device.
    public var sharedReceiveEntries: Int
    /// Commands that one reactor works on at once for the hosts of a device, at least twice `sharedReceiveEntries`. One in
    /// 16 is for other queues than those for I/O alone.
    public var requests: Int
    /// Data memory of one reactor and device, in bytes.
    public var dataMemory: Int
    /// Memory that only fabrics and admin commands may take, in bytes.
    public var controlMemory: Int
    /// Answer with SEND with invalidate where the host asks for it and the device can.
    public var sendWithInvalidate: Bool
    /// Namespace identifiers go from 1 to this, at most 65,536.
    public var maxNamespaces: Int
    /// SGL data block descriptors that one command may have; Identify Controller MSDBD.
    public var maxDescriptors: Int
    /// Largest keep-alive timeout that is granted, in milliseconds; a Connect or Set Features that asks for more is refused.
    public var maxKeepAliveMilliseconds: UInt32
    /// How often timers are looked at, in milliseconds. A host that has gone is noticed so much later, three times at the most.
    package var tickMilliseconds: UInt64 = 100
    /// Abilities that it leaves out, for tests of what hosts make of other targets.
    package var omissions: TargetOmissions = []
    /// A bug, for tests that show that it is noticed.
    package var deliberateDefect = DeliberateDefect.none

    public init(
        queueDepth: Int = 128, maxIOQueues: Int = 64, inCapsuleDataSize: Int = 4096, maxTransferSize: Int = 1 << 20,
        sharedReceiveEntries: Int = 2048, requests: Int = 16384, dataMemory: Int = 64 << 20,
        controlMemory: Int = 1 << 20, sendWithInvalidate: Bool = true,
        maxNamespaces: Int = 65536, maxDescriptors: Int = 16, maxKeepAliveMilliseconds: UInt32 = 600_000
    ) {
        self.queueDepth = queueDepth
        self.maxIOQueues = maxIOQueues
        self.inCapsuleDataSize = inCapsuleDataSize
        self.maxTransferSize = maxTransferSize
        self.sharedReceiveEntries = sharedReceiveEntries
        self.requests = requests
        self.dataMemory = dataMemory
        self.controlMemory = controlMemory
        self.sendWithInvalidate = sendWithInvalidate
        self.maxNamespaces = maxNamespaces
        self.maxDescriptors = maxDescriptors
        self.maxKeepAliveMilliseconds = maxKeepAliveMilliseconds
    }

    /// Entries of the admin queue (discovery log "ASQSZ"), as many as SPDK's target has.
    public static let adminQueueEntries = 128
    /// Connections of one reactor and device.
    public static let connections = 1024

    /// Memory of one reactor and device for data of all kinds, in bytes.
    public var poolBytes: Int { dataMemory + controlMemory }
}
