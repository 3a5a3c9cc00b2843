import AllocationProbe
import Glibc
import Testing

/// The cost of every fabrics and admin command, and of those for reservations, against the size of the configuration. A
/// reactor does other hosts' I/O between two rounds: the costliest round of a command counts, and it must not grow with the
/// number of subsystems, namespaces and hosts.
@Suite(.serialized) struct CommandCostTests {
    /// Allocations tell how many entries were touched and copied. A few more are caches that grow.
    @Test func noCommandCostsMoreWhereMoreIsConfigured() throws {
        try #require(allocationProbeIsActive())
        let few = try measured(.init(subsystems: 300, namespaces: 20, hosts: 4, registrants: 4), rounds: 3)
        let many = try measured(.init(subsystems: 3000, namespaces: 3000, hosts: 40, registrants: 1000), rounds: 3)
        #expect(few.names == many.names)
        for name in many.names {
            let (little, much) = (few.cost(name).allocations, many.cost(name).allocations)
            // A change of reservations, and a namespace that is attached, is told to some hosts in each round.
            let isTold = name.hasPrefix("Reservation") || name.hasPrefix("Namespace Attachment, attach")
            let slack = isTold ? 8 + 3 * 16 : 8
            #expect(
                much <= little + slack,
                "\(name): \(little) allocations where little is configured, \(much) where much is")
        }
    }

    /// A command without a row would be one of which nobody knows what it costs.
    @Test func everyCommandOfTheTargetIsMeasured() throws {
        let costs = try measured(.init(subsystems: 50, namespaces: 4, hosts: 2, registrants: 3), rounds: 1)
        let accepted = try CommandKey.accepted(by: costs.world)
        #expect(accepted.subtracting(costs.covered).sorted() == [], "not measured")
        // Every kind of command was found, and what was found is not everything.
        #expect(accepted.count > 50 && accepted.count < 256, "\(accepted.sorted())")
    }

    /// Prints how long the costliest round of each command took, for `Tools/bench --only commands`: times are no test's matter.
    @Test(.enabled(if: getenv("TERCET_COMMAND_COSTS") != nil)) func printsWhatCommandsCost() throws {
        let sizes = [
            CommandCosts.Size(subsystems: 50, namespaces: 64, hosts: 4, registrants: 4),
            CommandCosts.Size(subsystems: 10_000, namespaces: 65_536, hosts: 1000, registrants: 4096),
        ]
        let (reactor, control) = (PinnedThread(processor: 0), PinnedThread(processor: -1))
        let both = try reactor.run { try sizes.map { try measured($0, rounds: 15, control: control) } }
        let texts = sizes.map {
            "\($0.subsystems) subsystems, \($0.namespaces) namespaces, \($0.hosts) hosts, \($0.registrants) registrants"
        }
        print("costliest round in microseconds, median of 15, at \(texts.joined(separator: "; and at "))")
        for name in both[1].names {
            let times = both.map { "\($0.cost(name).time / .microseconds(1))" }
            print("  \(times.joined(separator: " "))  \(name)")
        }
        #expect(both[0].names == both[1].names)
    }

    private func measured(
        _ size: CommandCosts.Size, rounds: Int, control: PinnedThread? = nil
    ) throws -> CommandCosts {
        let costs = try CommandCosts(size, rounds: rounds, control: control)
        try costs.measureAll()
        return costs
    }
}
