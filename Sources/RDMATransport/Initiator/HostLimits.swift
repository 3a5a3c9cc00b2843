import NVMeSpec

/// Numbers of the initiator's side that are not worth a knob.
enum HostLimits {
    /// Completions taken from one device in one poll.
    static let completionBatch = 128
    /// Work requests, and receives, that are collected before they are posted.
    static let workBatch = 256
    /// How long a queue pair in the error state may take to return its work, in milliseconds; then it is destroyed, which
    /// ends it for certain.
    static let flushMilliseconds: UInt64 = 500
    /// How long an address, and the route to it, may take to be resolved, in milliseconds (Linux: 3 s).
    static let resolveMilliseconds: UInt32 = 3_000
    /// RDMA READs of ours that the controller may have running on one queue.
    static let readDepth = 16
    /// The connection manager is asked this often while there is work: it costs a system call.
    static let eventPeriodNanoseconds: UInt64 = 200_000
    /// An SGL's descriptors that travel in the capsule, at most.
    static let descriptors = 16
    /// A capsule's own memory: the command, then descriptors.
    static let capsuleStride = SubmissionEntry.byteCount + descriptors * SGLDescriptor.byteCount
}
