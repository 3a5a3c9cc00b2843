import Replication

/// Counts of one or many worlds.
public struct SimulationCounts: Sendable, Equatable {
    public var worlds: UInt64 = 0
    /// Virtual nanoseconds.
    public var simulated: UInt64 = 0
    public var acknowledged: UInt64 = 0
    public var initiators: UInt64 = 0
    public var messages: UInt64 = 0
    /// How often a daemon became the owner of a volume, hosts changed their reservation, and one of them was kept out by it.
    public var ownerships: UInt64 = 0
    public var reservations: UInt64 = 0
    public var refusals: UInt64 = 0
    public var failBacks: UInt64 = 0
    /// How often a second volume was attached, and I/Os of it that were acknowledged.
    public var secondAttachments: UInt64 = 0
    public var secondOperations: UInt64 = 0
    /// The longest virtual nanoseconds that a world took until all members were in sync, from the end of its faults on, and
    /// from there on until it was read and detached.
    public var longestHealing: UInt64 = 0
    public var longestEnding: UInt64 = 0
    /// I/Os that were submitted, by `BlockOperation`.
    public var submitted: [UInt64] = Array(repeating: 0, count: operationNames.count)
    /// By `FaultKind`, in the order of its cases.
    public var faults: [UInt64] = Array(repeating: 0, count: FaultKind.allCases.count)
    /// By `MatrixBranch`, in the order of its cases.
    public var branches: [UInt64] = Array(repeating: 0, count: MatrixBranch.allCases.count)

    private static let operationNames = [
        "reads", "writes", "flushes", "zeroing writes", "trims", "comparisons", "compare-and-writes", "verifies",
    ]

    public init() {}

    /// All numbers in one list, for another process.
    public var encoded: [UInt64] {
        [
            worlds, simulated, acknowledged, initiators, messages, longestHealing, longestEnding, ownerships,
            reservations,
            refusals, failBacks, secondAttachments, secondOperations,
        ] + submitted + faults + branches
    }

    /// Reads the list; `nil` where it is another release's.
    public init?(encoded: [UInt64]) {
        guard encoded.count == SimulationCounts().encoded.count else { return nil }
        (worlds, simulated, acknowledged) = (encoded[0], encoded[1], encoded[2])
        (initiators, messages) = (encoded[3], encoded[4])
        (longestHealing, longestEnding) = (encoded[5], encoded[6])
        (ownerships, reservations, refusals) = (encoded[7], encoded[8], encoded[9])
        failBacks = encoded[10]
        (secondAttachments, secondOperations) = (encoded[11], encoded[12])
        var rest = encoded.dropFirst(13)
        func take(_ count: Int) -> [UInt64] {
            defer { rest = rest.dropFirst(count) }
            return Array(rest.prefix(count))
        }
        submitted = take(submitted.count)
        faults = take(faults.count)
        branches = take(branches.count)
    }

    public mutating func add(_ other: SimulationCounts) {
        let sums = zip(encoded, other.encoded).map { $0 &+ $1 }
        guard var sum = SimulationCounts(encoded: sums) else { return }
        sum.longestHealing = max(longestHealing, other.longestHealing)
        sum.longestEnding = max(longestEnding, other.longestEnding)
        self = sum
    }

    public mutating func meet(_ branch: MatrixBranch) { branches[branch.index] += 1 }

    public subscript(branch: MatrixBranch) -> UInt64 { branches[branch.index] }

    /// Branches that were never met.
    public var missed: [MatrixBranch] { MatrixBranch.allCases.filter { self[$0] == 0 } }

    /// The work, the faults and the branches that were met, for people.
    public var report: String {
        var lines = ["I/Os: " + zip(Self.operationNames, submitted).map { "\($1) \($0)" }.joined(separator: ", ")]
        lines.append("\(initiators) initiators, \(messages) messages")
        if ownerships > 0 {
            lines.append(
                "\(ownerships) times a daemon became the owner, \(failBacks) times the volume went back to the one that prefers it, \(reservations) changes of hosts' reservations, which kept "
                    + "\(refusals) I/Os out")
        }
        if secondAttachments > 0 {
            lines.append(
                "\(secondAttachments) times a process attached a second volume, \(secondOperations) I/Os of such were acknowledged"
            )
        }
        lines.append(
            "after the last fault at most \(longestHealing / 1_000_000) ms until all members were in sync, then "
                + "\(longestEnding / 1_000_000) ms until all was read and detached")
        lines.append("faults and operations:")
        for (kind, count) in zip(FaultKind.allCases, faults) { lines.append(Self.row(count, kind.rawValue)) }
        lines.append("branches of the failure matrix:")
        for branch in MatrixBranch.allCases { lines.append(Self.row(self[branch], branch.rawValue)) }
        if !missed.isEmpty {
            lines.append("never met: " + missed.map(\.rawValue).joined(separator: "; "))
        }
        return lines.joined(separator: "\n")
    }

    private static func row(_ count: UInt64, _ name: String) -> String {
        let number = "\(count)"
        return String(repeating: " ", count: max(0, 10 - number.utf8.count)) + number + "  " + name
    }
}
