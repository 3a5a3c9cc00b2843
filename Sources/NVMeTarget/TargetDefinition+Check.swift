import Base
import NVMeSpec
import TargetInterface

extension TargetDefinition {
    /// A definition that contradicts itself, or that no target can be, cannot be brought about in part: the rest would depend on the
    /// order in which it is done. It is refused as a whole.
    func check() throws(TercetError) {
        if let twice = Self.firstTwice(listeners) { throw TercetError(.invalid, "listener \(twice) is there twice") }
        if let twice = Self.firstTwice(subsystems.map(\.nqn)) {
            throw TercetError(.invalid, "subsystem \(twice) is there twice")
        }
        for subsystem in subsystems {
            guard subsystem.nqn != NQN.discovery else {
                throw TercetError(.invalid, "subsystem \(subsystem.nqn): the discovery subsystem is there by itself")
            }
            if let twice = Self.firstTwice(subsystem.namespaces.map(\.nsid)) {
                throw TercetError(.invalid, "subsystem \(subsystem.nqn): namespace \(twice) is there twice")
            }
            if let pool = subsystem.pool,
                !zip(pool.namespaces, pool.namespaces.dropFirst()).allSatisfy({ $0.nsid < $1.nsid })
            {
                throw TercetError(.invalid, "subsystem \(subsystem.nqn): the pool's namespaces do not ascend")
            }
            let groups = subsystem.anaStates.keys.map(\.group) + subsystem.namespaces.map(\.anaGroup)
            for group in groups where group < 1 || group > Limits.anaGroups {
                throw TercetError(
                    .invalid, "subsystem \(subsystem.nqn): ANA group \(group): groups go from 1 to \(Limits.anaGroups)")
            }
        }
    }

    private static func firstTwice<Value: Hashable>(_ values: [Value]) -> Value? {
        var seen = Set<Value>(minimumCapacity: values.count)
        return values.first { !seen.insert($0).inserted }
    }
}
