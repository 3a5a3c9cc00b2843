import TargetInterface

/// The needs of a daemon with a configuration, before any host comes.
public struct ResourceNeeds: Equatable, Sendable {
    /// Memory that the reactors register with one RDMA device, in bytes.
    public let lockedBytes: UInt64
    /// Descriptors: of each reactor to each namespace, and those of the reactors, the RDMA devices and the log.
    public let descriptors: UInt64

    public init(_ definition: TargetDefinition, reactors: Int) {
        let options = definition.options
        let capsules = options.sharedReceiveEntries * (options.inCapsuleDataSize + 128)
        lockedBytes = UInt64(reactors) * UInt64(options.poolBytes + capsules)
        let namespaces = definition.subsystems.reduce(0) { $0 + $1.namespaces.count }
        descriptors = UInt64(namespaces + reactors * (namespaces + 16) + definition.listeners.count + 32)
    }
}
