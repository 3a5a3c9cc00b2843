import Base
import NVMeSpec
import Synchronization
import TargetInterface

/// An NVM subsystem, or the discovery subsystem. Shared by all reactors; nothing here is on the I/O path.
public final class Subsystem: Sendable {
    struct State {
        var definition: SubsystemDefinition
        var namespaces = NamespaceIndex()
        var controllers = ControllerIndex()
        /// Begins where chance wants: of two daemons that a host takes for one subsystem, controllers with one identifier are
        /// unlikely, and one that comes back after a restart is another one.
        var nextControllerID: UInt16
        var isRemoved = false
        var anaStates: ANAStates
        /// Each reactor's counters of each host; written by the reactor without a lock.
        var counters: [(host: String, reference: StatisticsReference)] = []
        /// The names among them: a Connect asks for one, and may not take as long as there are hosts.
        var countedNames: Set<String> = []
        /// Each reactor's namespaces, for their counters.
        var tables: [NamespaceTable] = []
        var keys: HostKeys
    }

    public let nqn: String
    let isDiscovery: Bool
    /// Dense; never reused.
    let index: Int
    let state: Mutex<State>

    /// - Parameter seed: decides the first controller's identifier.
    init(_ definition: SubsystemDefinition, index: Int, seed: UInt64, isDiscovery: Bool = false) {
        nqn = definition.nqn
        self.index = index
        self.isDiscovery = isDiscovery
        state = Mutex(
            State(
                definition: definition,
                nextControllerID: Self.firstControllerID(seed &+ UInt64(index), in: definition.controllerIDs),
                anaStates: ANAStates(definition.anaStates), keys: HostKeys(definition.authentication)))
    }

    private static func firstControllerID(_ seed: UInt64, in range: ClosedRange<UInt16>) -> UInt16 {
        // The finalizer of SplitMix64: seeds that follow each other give numbers that do not.
        var mixed = seed &+ 0x9E37_79B9_7F4A_7C15
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return range.lowerBound + UInt16((mixed ^ mixed >> 31) % UInt64(range.count))
    }

    var definition: SubsystemDefinition { state.withLock { $0.definition } }

    /// The sum of all reactors' counters. They go on counting meanwhile: a value may be a moment old.
    public var statistics: Statistics {
        // Under the lock, which a reactor takes before it frees its counters.
        state.withLock { $0.counters.reduce(Statistics()) { $0 + $1.reference.value } }
    }

    /// Hosts that have counters of their own; all others share one name.
    static let countedHosts = 63
    public static let otherHosts = "other"

    /// The name under which a host's commands are counted: its NQN, while there is room. From a host's first connection on it stays
    /// the same.
    func counterName(of host: String) -> String {
        state.withLock { state in
            let names = state.countedNames
            let count = names.count - (names.contains(Self.otherHosts) ? 1 : 0)
            return names.contains(host) || count < Self.countedHosts ? host : Self.otherHosts
        }
    }

    /// Adds a reactor's counters of a host, by the name under which it is counted.
    func add(_ counters: StatisticsReference, of name: String) {
        state.withLock { state in
            state.counters.append((name, counters))
            state.countedNames.insert(name)
        }
    }

    /// Takes counters out, which may be freed then.
    func remove(_ counters: [StatisticsReference]) {
        state.withLock { state in
            state.counters.removeAll { counters.contains($0.reference) }
            state.countedNames = Set(state.counters.map(\.host))
        }
    }

    func allows(host: String) -> Bool {
        state.withLock { !$0.isRemoved && $0.definition.access.allows(host) }
    }

    /// The demand on a host that connects, or shows anew who it is.
    func demand(on host: String, now: MonotonicTime) -> HostKeys.Demand {
        state.withLock { $0.keys.demand(on: host, of: nqn, now: now) }
    }

    /// It has been removed from its target.
    var isRemoved: Bool { state.withLock { $0.isRemoved } }

    /// Controllers that exist.
    package var controllerCount: Int { state.withLock { $0.controllers.count } }

    /// Requests that wait for the end of associations' commands.
    package var drainWaiterCount: Int { state.withLock { $0.controllers.waiterCount } }

    /// Namespaces in the order of their identifiers. For the control plane: a reactor looks at `state.namespaces`, for it may
    /// not take as long as there are namespaces.
    var namespaces: [Namespace] { state.withLock { $0.namespaces.all } }

    func namespace(_ nsid: UInt32) -> Namespace? { state.withLock { $0.namespaces[nsid] } }

    /// Controllers in the order of their identifiers. For the control plane.
    var controllers: [Controller] { state.withLock { $0.controllers.all } }

    /// A host's controllers, in the order of their identifiers.
    func controllers(of host: KnownHost) -> [Controller] { state.withLock { $0.controllers.controllers(of: host) } }

    /// Adds a controller of a host under a free identifier, or returns `nil` when there is none left.
    func addController(of hostID: UUIDBytes, _ make: (UInt16, KnownHost) -> Controller) -> Controller? {
        state.withLock { state in
            guard !state.isRemoved else { return nil }
            let range = state.definition.controllerIDs
            // Controllers of a range that was configured before may be there: what is free counts, not their number. The search
            // is over after one step more than there are controllers.
            for _ in 0..<range.count {
                let id = range.contains(state.nextControllerID) ? state.nextControllerID : range.lowerBound
                state.nextControllerID = id == range.upperBound ? range.lowerBound : id + 1
                guard state.controllers[id] == nil else { continue }
                return state.controllers.add(of: hostID) { make(id, $0) }
            }
            return nil
        }
    }

    // MARK: Registrants

    /// Keeps a place for a host that is registered with a namespace, whether it is connected or not.
    func register(_ id: UUIDBytes) -> HostIndex { state.withLock { $0.controllers.register(id) } }

    /// Keeps the place of a host that is connected, and is registered with a namespace now.
    func register(_ host: HostIndex) { state.withLock { $0.controllers.register(host) } }

    /// Hosts are no longer registered with a namespace. No reactor takes them for registrants any more: others may get their
    /// places.
    func unregister(_ registrants: [HostIndex]) {
        guard !registrants.isEmpty else { return }
        state.withLock { $0.controllers.unregister(registrants) }
    }

    /// Takes a controller out and returns the queues that are to be closed; `nil` where it has ended already. Until its
    /// commands are over it is `draining`, without a moment in which it is neither.
    func end(_ controller: Controller) -> [QueueLocation]? {
        state.withLock { state in
            guard let (queues, isBusy) = controller.end() else { return nil }
            state.controllers.end(controller, isBusy: isBusy)
            return queues
        }
    }

    /// A namespace has a volatile write cache.
    var hasVolatileWriteCache: Bool { state.withLock { $0.namespaces.hasVolatileWriteCache } }

    func controller(_ id: UInt16) -> Controller? { state.withLock { $0.controllers[id] } }

    /// Whether all of these are there.
    func hasControllers(_ identifiers: [UInt16]) -> Bool { state.withLock { $0.controllers.contains(identifiers) } }
}

extension Subsystem {
    /// Lets somebody wait; `false` if there is nothing to wait for.
    func wait(_ waiter: DrainWaiter) -> Bool { state.withLock { $0.controllers.wait(waiter) } }

    /// Lets somebody wait no longer.
    func forget(_ waiter: DrainWaiter) { state.withLock { $0.controllers.forget(waiter) } }

    /// Controllers that somebody waits for: they have ended, and their commands are not over. By their identifiers; and
    /// whether there is one among them that has not been asked for before.
    func draining(_ scope: DrainScope) -> (controllers: [UInt16], isNews: Bool) {
        let found = state.withLock { $0.controllers.drainingControllers(scope) }
        let isNews = found.map { controller in
            controller.state.withLock { state in
                defer { state.isKnownToDrain = true }
                return !state.isKnownToDrain
            }
        }
        return (found.map(\.id).sorted(), isNews.contains(true))
    }

    /// The last command of an ended controller is over: those go on who waited for it alone.
    func drained(_ controller: Controller) {
        let ready = state.withLock { $0.controllers.drained(controller) }
        for waiter in ready { waiter.resume() }
    }
}
