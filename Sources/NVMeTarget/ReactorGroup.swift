import Reactor
import TargetTransport

/// A poll group and the reactor that polls it, as a daemon's control plane keeps them.
public final class ReactorGroup: @unchecked Sendable {
    // Unchecked: the group belongs to its reactor's thread; here it is only kept and handed over.
    private let group: PollGroup
    private let reactor: Reactor

    /// - Parameters:
    ///   - transport: of this reactor alone.
    ///   - node: the NUMA node of the reactor's processor; `nil` if it is not known.
    public init(_ target: Target, _ transport: any TargetTransport, on reactor: Reactor, node: Int?) {
        group = PollGroup(target: target, transport: transport, node: node, ring: reactor.ring)
        self.reactor = reactor
    }

    /// Lets the reactor poll the group. On the reactor's thread, or before it starts.
    public func join() { reactor.add(group) }

    /// Ends all connections of the group, which is polled no more. The reactor has to run.
    public func close() async {
        await reactor.run {
            self.group.close()
            self.reactor.remove(self.group)
        }
    }
}
