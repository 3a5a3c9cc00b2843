import InitiatorTransport

/// Numbers that are not worth a knob.
enum Limits {
    /// Capsules that are collected before the transport gets them.
    static let capsuleBatch = 256
    /// Entries of the admin queue (discovery log "ASQSZ", at least 32 everywhere).
    static let adminEntries = 32
    /// Asynchronous Event Requests that we keep with the controller.
    static let asyncEventRequests = 4
    /// Commands that may be under way on one queue: command identifiers have so many indices.
    static let maxDepth = 1 << Int(CommandIdentifier.indexBits)
    /// Namespaces that a controller's queues know.
    static let namespaces = 1024
    /// How long an admin command may take, in milliseconds (Linux: 60 s).
    static let adminTimeoutMilliseconds: UInt32 = 60_000
}
