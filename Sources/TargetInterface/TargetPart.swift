import Base

/// A part of a target that may fail by itself.
public enum TargetPart: Equatable, Sendable, CustomStringConvertible {
    /// A whole subsystem, by its NQN.
    case subsystem(String)
    case namespace(UInt32, subsystem: String)
    case listener(SocketAddress)

    /// The NQN of the subsystem that it is, or lies in; `nil` for a listener.
    public var subsystemNQN: String? {
        switch self {
        case .subsystem(let nqn), .namespace(_, let nqn): nqn
        case .listener: nil
        }
    }

    public var description: String {
        switch self {
        case .subsystem(let nqn): "subsystem \(nqn)"
        case .namespace(let nsid, let nqn): "subsystem \(nqn): namespace \(nsid)"
        case .listener(let address): "listener \(address)"
        }
    }
}

extension TargetDefinition {
    /// The state of a target that was given this definition without these parts. Its differences from a later one are still
    /// to be applied.
    public func leavingOut(_ missing: [TargetPart]) -> TargetDefinition {
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

/// A part of a definition that the target does not have, and why.
public struct MissingPart: Equatable, Sendable {
    public var part: TargetPart
    /// One line for people.
    public var reason: String

    public init(part: TargetPart, reason: String) {
        self.part = part
        self.reason = reason
    }
}

/// The outcome of a definition.
public struct TargetReport: Equatable, Sendable {
    /// Lines for people about the changes that were made.
    public var done: [String] = []
    /// The parts that failed; the rest has been done, and applying the definition again tries these parts again.
    public var missing: [MissingPart] = []

    public init() {}
}
