import Base
import NVMeAuthentication
import TargetInterface

/// The keys of a subsystem's hosts, and those that they had until a moment ago.
struct HostKeys {
    /// The demand on a host that connects.
    enum Demand {
        case nothing
        /// It has to show that it has one of the peer's keys.
        case keys(ControllerExchange.Peer)
        /// It has none, and the subsystem lets nobody in without.
        case missing
    }

    private struct Former {
        var keys: AuthenticationKeys
        /// `nil` until a reactor has said which time it is.
        var end: MonotonicTime?
    }

    private(set) var definition: AuthenticationDefinition
    private var former: [String: Former] = [:]

    init(_ definition: AuthenticationDefinition) { self.definition = definition }

    /// Takes on what is wanted now. Returns the hosts that had no keys and need some from now on.
    mutating func change(to new: AuthenticationDefinition) -> (_ host: String) -> Bool {
        let old = definition
        definition = new
        former = former.filter { new.keys[$0.key] != nil }
        for (host, keys) in old.keys where new.keys[host] != nil && new.keys[host] != keys {
            former[host] = new.formerKeySeconds > 0 ? Former(keys: keys) : nil
        }
        return { host in old.keys[host] == nil && (new.keys[host] != nil || new.isRequired) }
    }

    /// From now on the time counts in which former keys are valid still.
    mutating func date(_ now: MonotonicTime) {
        let milliseconds = UInt64(definition.formerKeySeconds) * 1000
        for host in former.keys where former[host]?.end == nil {
            former[host]?.end = now.advanced(byMilliseconds: milliseconds)
        }
    }

    func demand(on host: String, of subsystem: String, now: MonotonicTime) -> Demand {
        guard let keys = definition.keys[host] else { return definition.isRequired ? .missing : .nothing }
        var valid = [keys]
        if let former = former[host], now < former.end ?? .distantFuture { valid.append(former.keys) }
        return .keys(
            ControllerExchange.Peer(
                hostNQN: host, subsystemNQN: subsystem, keys: valid, algorithms: definition.algorithms))
    }
}
