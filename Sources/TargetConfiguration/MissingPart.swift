import Base
import FabricInterface

/// A part of a configuration that the target could not be given while it runs.
public enum MissingPart: Equatable, Sendable, CustomStringConvertible {
    /// A whole subsystem, by its NQN.
    case subsystem(String)
    case namespace(UInt32, subsystem: String)
    case listener(SocketAddress)

    public var description: String {
        switch self {
        case .subsystem(let nqn): "subsystem \(nqn)"
        case .namespace(let nsid, let nqn): "subsystem \(nqn): namespace \(nsid)"
        case .listener(let address): "listener \(address)"
        }
    }
}

extension Configuration {
    /// The state of a target that was given this configuration without these parts. Its differences from a later one are still
    /// to be applied.
    public func leavingOut(_ missing: [MissingPart]) -> Configuration {
        var rest = self
        for part in missing {
            switch part {
            case .subsystem(let nqn): rest.subsystems.removeAll { $0.nqn == nqn }
            case .namespace(let nsid, let nqn):
                for position in rest.subsystems.indices where rest.subsystems[position].nqn == nqn {
                    rest.subsystems[position].namespaces.removeAll { $0.nsid == nsid }
                }
            case .listener(let address): rest.listeners.removeAll { $0 == address }
            }
        }
        return rest
    }
}
