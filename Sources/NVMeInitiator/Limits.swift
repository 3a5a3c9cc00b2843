/// Numbers that are not worth a knob.
enum Limits {
    /// Queue pairs of one reactor on one device.
    static let queuePairs = 256
    /// Completions taken in one poll.
    static let completionBatch = 128
    /// Work requests, and receives, that are collected before they are posted.
    static let workBatch = 256
    /// Entries of the admin queue (discovery log "ASQSZ", at least 32 everywhere).
    static let adminEntries = 32
    /// Asynchronous Event Requests that we keep with the controller.
    static let asyncEventRequests = 4
    /// Commands that may be under way on one queue: command identifiers have so many indices.
    static let maxDepth = 1 << Int(CommandIdentifier.indexBits)
    /// Namespaces that a controller's queues know.
    static let namespaces = 1024
    /// How long a queue pair in the error state may take to return its work, in milliseconds; then it is destroyed, which
    /// ends it for certain.
    static let flushMilliseconds: UInt64 = 500
    /// How long an address, and the route to it, may take to be resolved, in milliseconds (Linux: 3 s).
    static let resolveMilliseconds: UInt32 = 3_000
    /// How long an admin command may take, in milliseconds (Linux: 60 s).
    static let adminTimeoutMilliseconds: UInt32 = 60_000
    /// Bytes of one transfer of control data: Identify structures, pieces of log pages.
    static let controlBufferBytes = 4096
    /// Control transfers of one reactor on one device at once, in each direction.
    static let controlBuffers = 32
    /// RDMA READs of ours that the controller may have running on one queue.
    static let readDepth = 16
}
