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
        /// Each reactor's namespaces, for their counters.
        var tables: [NamespaceTable] = []
        /// Hosts that have connected, each at the place of its bit in `NamespaceSlot.readers` and `writers`.
        var hosts: [UUIDBytes] = []
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
                anaStates: ANAStates(definition.anaStates)))
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
            var names = Set(state.counters.map(\.host))
            names.remove(Self.otherHosts)
            return names.contains(host) || names.count < Self.countedHosts ? host : Self.otherHosts
        }
    }

    func allows(host: String) -> Bool {
        state.withLock { !$0.isRemoved && $0.definition.access.allows(host) }
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
    func controllers(of host: UUIDBytes) -> [Controller] { state.withLock { $0.controllers.controllers(of: host) } }

    /// Adds a controller under a free identifier, or returns `nil` when there is none left.
    func addController(_ make: (UInt16) -> Controller) -> Controller? {
        state.withLock { state in
            guard !state.isRemoved else { return nil }
            let range = state.definition.controllerIDs
            // Controllers of a range that was configured before may be there: what is free counts, not their number. The search
            // is over after one step more than there are controllers.
            for _ in 0..<range.count {
                let id = range.contains(state.nextControllerID) ? state.nextControllerID : range.lowerBound
                state.nextControllerID = id == range.upperBound ? range.lowerBound : id + 1
                guard state.controllers[id] == nil else { continue }
                let controller = make(id)
                state.controllers.add(controller)
                return controller
            }
            return nil
        }
    }

    /// The bit of a host in the reservations' masks. The last bit is shared by all hosts beyond the 63rd: they can use
    /// namespaces without a reservation, and cannot register.
    func hostBit(of host: UUIDBytes) -> UInt64 {
        state.withLock { state in
            if let place = state.hosts.firstIndex(of: host) { return 1 << UInt64(place) }
            if state.hosts.count < 63 {
                state.hosts.append(host)
                return 1 << UInt64(state.hosts.count - 1)
            }
            // A place whose host is neither connected nor registered, and whose commands are over, is taken over: its bit
            // says in every mask what the reservation lets strangers do, which is right for the new host as well.
            guard let place = state.hosts.firstIndex(where: { !state.controllers.isPresent($0) }) else {
                return Subsystem.sharedHostBit
            }
            state.hosts[place] = host
            return 1 << UInt64(place)
        }
    }

    /// Takes on who is registered with a namespace.
    func changeRegistrants(from old: Reservation, to new: Reservation) {
        state.withLock {
            $0.controllers.changeRegistrants(from: old.registrants.map(\.host), to: new.registrants.map(\.host))
        }
    }

    /// The bit that hosts share who have no place of their own.
    static let sharedHostBit: UInt64 = 1 << 63

    /// Which hosts a namespace's reservation lets read, and write: a bit a host. Hosts that connect later have no
    /// registration: their bits say what the reservation lets everybody do.
    func masks(of namespace: Namespace) -> (readers: UInt64, writers: UInt64) {
        let reservation = namespace.reservation.withLock { $0.current }
        let stranger = reservation.access(of: UUIDBytes())
        var readers: UInt64 = stranger.read ? .max : 0
        var writers: UInt64 = stranger.write ? .max : 0
        for registrant in reservation.registrants {
            let access = reservation.access(of: registrant.host)
            let bit = hostBit(of: registrant.host)
            // A registrant that has no place may do what strangers may: its bit would let in all who share it.
            guard bit != Subsystem.sharedHostBit else { continue }
            if access.read { readers |= bit }
            if access.write { writers |= bit }
        }
        return (readers, writers)
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
