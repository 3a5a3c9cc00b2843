import Simulation

/// What is wrong with the network between initiators and targets. Links are told apart by the target's machine.
struct LinkFaults {
    /// Nothing from the target arrives, or nothing to it.
    var isCutFrom = [false, false, false]
    var isCutTo = [false, false, false]
    /// Nanoseconds that a message takes longer, at most.
    var delay: [UInt64] = [0, 0, 0]
    /// One message in so many is lost; 0 for none.
    var lossInterval: [UInt64] = [0, 0, 0]
    /// The next RDMA READ or WRITE is refused.
    var refuses = [false, false, false]
    /// The links to these initiators alone are concerned; all where it is `nil`.
    var random = SeededRandom(seed: 0)

    /// Cuts a member off, or connects it again.
    mutating func cut(_ member: Int, _ isCut: Bool) {
        isCutFrom[member] = isCut
        isCutTo[member] = isCut
    }

    mutating func heal() {
        for member in 0..<3 {
            cut(member, false)
            delay[member] = 0
            lossInterval[member] = 0
            refuses[member] = false
        }
    }

    mutating func fate(_ message: SimulatedMessage) -> SimulatedFate {
        let isFromTarget = message.sourceNode < 3
        let member = isFromTarget ? message.sourceNode : message.destinationNode
        guard member < 3 else { return .delivered }
        if isFromTarget ? isCutFrom[member] : isCutTo[member] { return .lost }
        if lossInterval[member] > 0, random.next() % lossInterval[member] == 0 { return .lost }
        if refuses[member], message.kind == .rdmaRead || message.kind == .rdmaWrite {
            refuses[member] = false
            return .refused
        }
        return delay[member] > 0 ? .delayed(nanoseconds: random.next() % delay[member]) : .delivered
    }
}
