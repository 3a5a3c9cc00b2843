import TargetTransport

/// Sizes of a target. All memory of the I/O path is allocated from them when a reactor meets a device.
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
    /// Namespace identifiers go from 1 to this.
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
        maxNamespaces: Int = 256, maxDescriptors: Int = 16, maxKeepAliveMilliseconds: UInt32 = 600_000
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
}

extension TargetOptions {
    /// The sizes that the target wants its transport to have.
    public var transport: TransportOptions {
        TransportOptions(
            adminQueueEntries: Limits.adminQueueDepth, queueEntries: queueDepth, maxQueueID: maxIOQueues,
            capsuleDataBytes: inCapsuleDataSize, capsules: sharedReceiveEntries, requests: requests,
            connections: Limits.connections, memoryBytes: dataMemory + controlMemory, maxPieces: maxDescriptors,
            invalidatesKeys: sendWithInvalidate)
    }
}

/// Numbers that are not worth a knob.
enum Limits {
    /// Entries of the admin queue (discovery log "ASQSZ"), as many as SPDK's target has.
    static let adminQueueDepth = 128
    /// ANA groups have identifiers from 1 to this.
    static let anaGroups = 128
    /// Asynchronous Event Requests of one controller; Identify Controller AERL + 1.
    static let asyncEventRequests = 4
    /// Abort commands of one controller; Identify Controller ACL + 1.
    static let abortCommands = 4
    /// Completions of a block device taken in one poll.
    static let completionBatch = 64
    /// Events of a port taken in one poll, and orders given before they are carried out.
    static let eventBatch = 192
    static let orderBatch = 256
    /// One request in so many is for commands of other than I/O queues alone.
    static let requestReserve = 16
    /// What a Compare and Write may cover at the most, in bytes: the largest block there is.
    static let compareAndWriteBytes: UInt32 = 65536
    /// How long the first half of a fused operation waits for the second, in milliseconds.
    static let fusedMilliseconds: UInt64 = 10_000
    /// Operations of one reactor at one block device.
    static let blockDepth = 512
    /// Connections of one port.
    static let connections = 1024
    /// How long a connection is kept that no Connect command has come for, in milliseconds.
    static let connectMilliseconds: UInt64 = 30_000
    /// How long a Connect or a Quiesce waits for commands of the same host's ended associations, in milliseconds; less than
    /// hosts wait for a Connect (Linux: 60 s). And after how long a Connect is reported; less than a volume waits for a
    /// member.
    static let heldMilliseconds: UInt64 = 20_000
    static let heldReportMilliseconds: UInt64 = 500
    /// How long a host may take for a read's data while a write of the same place waits, in milliseconds.
    static let loanMilliseconds: UInt64 = 2_000
    /// How long reads are copied after memory could not be registered, in milliseconds.
    static let lendingPauseMilliseconds: UInt64 = 1_000
    /// How often a busy reactor asks for connection events, in nanoseconds.
    static let eventCheckNanoseconds: UInt64 = 2_000_000
    /// How long a reactor sleeps at most while another one has what a command of its own waits for, in nanoseconds.
    static let blockedRetryNanoseconds: UInt64 = 1_000_000
}
