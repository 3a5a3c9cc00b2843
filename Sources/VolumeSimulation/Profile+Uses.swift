import Base
import Replication
import Simulation

/// Uses of a volume that wide worlds came to have later: drawn by a generator of their own, so that a seed that draws none of them
/// means what it meant before.
extension Profile {
    mutating func drawUses(seed: UInt64) {
        var random = SeededRandom(seed: seed ^ 0x7573_6573)
        func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }
        if chance(10) {
            leaveUnfenced()
            faults.remove(.competitor)
            if faults.isEmpty { faults = [.targetKill, .initiatorCrash, .partition] }
        }
        // Volumes of two pages are not copied as a whole.
        if chance(15), places.gap == 0, onlyFaulty == nil { useFormers(oftenWith: &random) }
        misreadsScrub = chance(25) && places.gap == 0
    }

    /// Members without reservations, and a volume with `fencing: none`. That promises nothing to two hosts at once. Neither does it to
    /// a host whose device is opened anew without its hearing of it in time: what it sends in the milliseconds until then reaches the
    /// new device.
    mutating func leaveUnfenced() {
        isUnfenced = true
        for member in makes.indices { makes[member].offersReservations = false }
        faults.subtract([.driveReseat, .storeErrors])
    }

    /// Namespaces are put in members' places and taken out, used otherwise, and come back: because an operator says so, or without a word.
    private mutating func useFormers(oftenWith random: inout SeededRandom) {
        formersAreUsed = true
        if Bool.random(using: &random) {
            // Little else, and often: it takes two of these faults one after the other, and a volume that is whole before.
            faults = Set(faults.sorted { $0.rawValue < $1.rawValue }.shuffled(using: &random).prefix(2))
            faultInterval = 15_000_000
        }
        faults.formUnion([.replace, .replaceByFormer, .formerReturns])
    }

    /// The number of the host that an initiator runs on.
    func hostNumber(_ initiator: Int) -> Int { isUnfenced && machineDefect != .twoHostsAttach ? 1 : initiator }
}
