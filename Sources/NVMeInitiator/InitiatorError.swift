import Base
import InitiatorTransport
import NVMeSpec

/// Why something of the control plane failed.
public enum InitiatorError: Error, Equatable, Sendable, CustomStringConvertible {
    /// A call of the transport: to its device, the system or the connection manager.
    case transport(TercetError)
    /// The machine says that nobody listens at the address.
    case absent(address: SocketAddress)
    /// Nobody accepts connections there, or the controller refused this one; with its reason where it gave one.
    case rejected(address: SocketAddress, reason: String?)
    /// The controller answered a command with an error.
    case status(Status, command: String)
    /// The controller refused Connect; with what it holds against it.
    case connectFailed(ConnectFailure)
    /// One of the two sides has not shown who it is, or the key to do so is missing.
    case notAuthenticated(String)
    /// The controller says what a controller must not say.
    case invalidResponse(String)
    /// No answer in time.
    case timeout(String)
    /// The connection was lost.
    case connectionLost(String)
    /// This host has no room: memory, completion queue entries, queue pairs.
    case resources(String)
    /// The controller cannot do this, or wants what we cannot do.
    case unsupported(String)
    /// The controller was closed on this side.
    case closed

    /// Trying again would fail again: the controller said Do Not Retry, or is not what we can use.
    public var isPermanent: Bool {
        switch self {
        case .status(let status, _): status.isDoNotRetry
        case .connectFailed(let failure): failure.status.isDoNotRetry
        case .unsupported, .closed: true
        default: false
        }
    }

    public var description: String {
        switch self {
        case .transport(let error): error.description
        case .absent(let address): "nobody accepts NVMe connections at \(address)"
        case .rejected(let address, let reason):
            reason.map { "\(address) refused the connection: \($0)" } ?? "nobody accepts NVMe connections at \(address)"
        case .status(let status, let command): "\(command): \(status)"
        case .connectFailed(let failure) where failure.status.matches(.connectControllerBusy):
            "Connect: \(failure): the target still has commands of this host's earlier connections, perhaps at a "
                + "disk that hangs (its log says), or no room for another controller; try again later"
        case .connectFailed(let failure): "Connect: " + (failure.explanation.map { "\($0): " } ?? "") + "\(failure)"
        case .notAuthenticated(let what): "not authenticated: \(what)"
        case .invalidResponse(let what): "the controller breaks the protocol: \(what)"
        case .timeout(let what): "no answer in time: \(what)"
        case .connectionLost(let reason): "the connection was lost: \(reason)"
        case .resources(let what): "not enough resources: \(what)"
        case .unsupported(let what): what
        case .closed: "the controller was closed"
        }
    }
}

extension ConnectFailure {
    /// The meaning of a refusal to the operator of this host; `nil` where its status says it all.
    fileprivate var explanation: String? {
        if status.matches(.keepAliveTimeoutInvalid) {
            return
                "the target takes no keep-alive timeout that long (tercetd: 600 s, unless it is configured otherwise)"
        }
        if status.matches(.connectInvalidHost) { return "the target does not let this host in" }
        // Bit 16: the offset is one in the data of the command.
        guard status.matches(.connectInvalidParameters), result >> 16 & 1 == 1 else { return nil }
        switch UInt16(truncatingIfNeeded: result) {
        case ConnectData.Offset.subsystemNQN: return "the target has no subsystem of this name here"
        case ConnectData.Offset.hostNQN: return "the target does not take this host's name"
        case ConnectData.Offset.hostID: return "the target does not take this host's identifier"
        case ConnectData.Offset.controllerID: return "the target has no such controller for this host"
        default: return nil
        }
    }
}
