import Base
import Replication
import Simulation

/// Faults of the network of a world with daemons: each pair of machines, in each direction.
struct SuccessionLinks {
    /// Messages between these do not arrive, by pairs of nodes.
    private var cuts: Set<Int> = []
    /// Nanoseconds that a message takes longer at most, by pairs of nodes.
    private var delays: [Int: UInt64] = [:]
    var random = SeededRandom(seed: 0)

    static func daemonNode(_ place: Int) -> Int { 10 + place }
    static func hostNode(_ number: Int) -> Int { 20 + number }

    private static func pair(_ source: Int, _ destination: Int) -> Int { source << 8 | destination }

    var isWhole: Bool { cuts.isEmpty && delays.isEmpty }

    /// Cuts two machines off from each other, in one direction or both.
    mutating func cut(_ source: Int, _ destination: Int, isOneWay: Bool = false) {
        cuts.insert(Self.pair(source, destination))
        if !isOneWay { cuts.insert(Self.pair(destination, source)) }
    }

    mutating func connect(_ source: Int, _ destination: Int) {
        cuts.remove(Self.pair(source, destination))
        cuts.remove(Self.pair(destination, source))
    }

    /// Messages between two machines take longer, or no longer where `delay` is 0.
    mutating func slow(_ source: Int, _ destination: Int, by delay: UInt64) {
        for pair in [Self.pair(source, destination), Self.pair(destination, source)] {
            delays[pair] = delay == 0 ? nil : delay
        }
    }

    func isCut(_ source: Int, _ destination: Int) -> Bool {
        cuts.contains(Self.pair(source, destination)) || cuts.contains(Self.pair(destination, source))
    }

    mutating func heal() {
        cuts = []
        delays = [:]
    }

    mutating func fate(_ message: SimulatedMessage) -> SimulatedFate {
        let pair = Self.pair(message.sourceNode, message.destinationNode)
        if cuts.contains(pair) { return .lost }
        guard let delay = delays[pair] else { return .delivered }
        return .delayed(nanoseconds: random.next() % delay)
    }
}
