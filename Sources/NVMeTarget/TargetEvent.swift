/// Events for the log of the program that runs the target.
public enum TargetEvent: Sendable {
    case hostConnected(host: String, subsystem: String, controller: UInt16, peer: String)
    case hostDisconnected(host: String, subsystem: String, controller: UInt16, reason: String)
    /// A Connect waits for commands of associations of the same host that have ended: these controllers'. They are at a
    /// block device, or for a few seconds on their way to the lost host. Or it has waited for too long, and was refused as
    /// busy.
    case connectHeld(host: String, subsystem: String, controllers: [UInt16], peer: String, isRefused: Bool)
    /// A Connect named a subsystem that is not there, or that the host may not have. The names are as the host sent them.
    case connectRefused(host: String, subsystem: String, peer: String, reason: String)
    /// A host has not shown who it is.
    case authenticationFailed(host: String, subsystem: String, peer: String, reason: String)
    /// A connection was not accepted.
    case connectionRefused(peer: String, reason: String)
    case queuePairFailed(peer: String, reason: String)
    case namespaceChanged(subsystem: String, nsid: UInt32, blockCount: UInt64)
    case namespaceFailed(subsystem: String, nsid: UInt32, reason: String)
    case listenerLost(address: String)
    /// A part of a definition has been brought about.
    case namespaceAdded(subsystem: String, nsid: UInt32, device: String, blockCount: UInt64, blockSize: UInt32)
    case listening(address: String)
    case stoppedListening(address: String)
    /// How a device was opened, for the operator.
    case deviceRemark(String)
}
