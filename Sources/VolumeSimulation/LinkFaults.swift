import Base
import Replication
import Simulation

/// Faults of the network between initiators and targets. Links are told apart by the target's machine, and cuts
/// by whether the initiator's number is odd too.
struct LinkFaults {
    /// The initiators that a cut concerns.
    struct Side: OptionSet {
        var rawValue: UInt8
        static let even = Side(rawValue: 1)
        static let odd = Side(rawValue: 2)
        static let both: Side = [.even, .odd]

        static func of(_ initiatorNode: Int) -> Side { initiatorNode % 2 == 0 ? .even : .odd }
    }

    /// Nothing from the target arrives at these, or nothing from these at it.
    private(set) var cutFrom: [Side] = [[], [], []]
    private(set) var cutTo: [Side] = [[], [], []]
    /// Nanoseconds that a message takes longer, at most.
    var delay: [UInt64] = [0, 0, 0]
    /// One message in so many is lost; 0 for none.
    var lossInterval: [UInt64] = [0, 0, 0]
    /// One message in so many takes 50 to 300 ms; 0 for none.
    var tailInterval: [UInt64] = [0, 0, 0]
    /// The next RDMA READ or WRITE is refused.
    var refuses = [false, false, false]
    var random = SeededRandom(seed: 0)

    /// Cuts a member off from a side, in one direction or both.
    mutating func cut(
        _ member: MemberIndex, from side: Side = .both, isFromMember: Bool = true, isToMember: Bool = true
    ) {
        if isFromMember { cutFrom[member].formUnion(side) }
        if isToMember { cutTo[member].formUnion(side) }
    }

    /// Connects a member with a side again.
    mutating func connect(_ member: MemberIndex, with side: Side = .both) {
        cutFrom[member].subtract(side)
        cutTo[member].subtract(side)
    }

    /// Nothing is wrong: each message is delivered.
    var isWhole: Bool {
        !refuses.contains(true)
            && (0..<3).allSatisfy {
                cutFrom[$0].isEmpty && cutTo[$0].isEmpty && tailInterval[$0] == 0 && delay[$0] == 0
                    && lossInterval[$0] == 0
            }
    }

    mutating func heal() {
        for member in MemberSet.all {
            connect(member)
            delay[member] = 0
            lossInterval[member] = 0
            tailInterval[member] = 0
            refuses[member] = false
        }
    }

    mutating func fate(_ message: SimulatedMessage) -> SimulatedFate {
        let isFromTarget = message.sourceNode < 3
        let node = isFromTarget ? message.sourceNode : message.destinationNode
        guard node < memberCount else { return .delivered }
        let member = MemberIndex(node)
        let side = Side.of(isFromTarget ? message.destinationNode : message.sourceNode)
        if (isFromTarget ? cutFrom : cutTo)[member].contains(side) { return .lost }
        if lossInterval[member] > 0, random.next() % lossInterval[member] == 0 { return .lost }
        if refuses[member], message.kind == .rdmaRead || message.kind == .rdmaWrite {
            refuses[member] = false
            return .refused
        }
        if tailInterval[member] > 0, random.next() % tailInterval[member] == 0 {
            return .delayed(nanoseconds: 50_000_000 + random.next() % 250_000_000)
        }
        return delay[member] > 0 ? .delayed(nanoseconds: random.next() % delay[member]) : .delivered
    }
}
