import TargetTransport

/// Chooses the reactor for a new queue of a host: at the NUMA node of the device that the queue came over, if a reactor there has room;
/// of these the one with the fewest queues of its kind. A reactor on another node would touch each command's memory across the link
/// between processors.
package struct QueuePlacement: Sendable {
    private struct Reactor {
        let node: Int?
        /// Connections that the reactor has, as it told last.
        var held = ConnectionCounts()
        /// Connections that were given to it, and that it has not told of.
        var coming = ConnectionCounts()

        func load(isAdmin: Bool) -> Int { isAdmin ? held.admin + coming.admin : held.io + coming.io }
        var total: Int { held.total + coming.total }
    }

    /// Connections that a reactor has room for.
    private let capacity: Int
    private var reactors: [Reactor] = []
    /// The reactor to begin with for the next queue: those that are alike take turns.
    private var nextAdmin = 0
    private var nextIO = 0

    package init(capacity: Int) { self.capacity = capacity }

    /// - Parameter node: of the reactor's processor and memory; `nil` if it is not known.
    package mutating func add(node: Int?) { reactors.append(Reactor(node: node)) }

    /// The reactor for a queue, in the order in which they were added. `settle` follows when it has taken the queue, or refused it.
    ///
    /// - Parameter node: of the device that the queue came over; `nil` if it is not known.
    package mutating func choose(isAdmin: Bool, near node: Int?) -> Int {
        let first = isAdmin ? nextAdmin : nextIO
        let turns = reactors.indices.map { ($0 + first) % reactors.count }
        // The system may have refused to say where a device is: all reactors are near then.
        func rank(_ place: Int) -> (Int, Int, Int) {
            let reactor = reactors[place]
            return (
                reactor.total < capacity ? 0 : 1, node == nil || reactor.node == node ? 0 : 1,
                reactor.load(isAdmin: isAdmin)
            )
        }
        // The first of those that are alike.
        let chosen = turns.min { rank($0) < rank($1) }!
        if isAdmin { nextAdmin = chosen + 1 } else { nextIO = chosen + 1 }
        reactors[chosen].coming.add(1, isAdmin: isAdmin)
        return chosen
    }

    /// A reactor has taken or refused a queue that it was chosen for.
    package mutating func settle(_ reactor: Int, isAdmin: Bool, held: ConnectionCounts) {
        reactors[reactor].coming.add(-1, isAdmin: isAdmin)
        reactors[reactor].held = held
    }

    /// A reactor tells its connections.
    package mutating func note(_ held: ConnectionCounts, of reactor: Int) { reactors[reactor].held = held }
}
