import ArgumentParser
import Foundation
import Terminal
import VolumeSimulation

/// Lets simulated worlds live: real targets, initiators and volumes on simulated disks and a simulated network.
struct Simulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tercet-simulate",
        abstract: "Simulates whole volumes under faults, each world from one seed, and checks that nothing is lost.",
        discussion: """
            A world has three targets, initiators one after another or against each other, a workload, and faults. All of \
            it follows from the seed: the same seed has the same history on every machine, and its hash tells.

            Examples:
              tercet-simulate --seeds 500             500 worlds, from seed 1 on
              tercet-simulate --minutes 60            worlds for an hour, on all processors
              tercet-simulate --seed 42 --trace       one world, with all that happens in it
              tercet-simulate --seed 42 --minimise    the fewest faults with which seed 42 still fails

            A world that is not sound is one in which something was lost or left behind, one that traps, and one that takes \
            longer than --time-limit. The exit status is 0 where all worlds were sound, 1 where one was not, 2 for wrong usage.
            """)

    @Option(help: "The seed, or with --seeds or --minutes the first one.")
    var seed: UInt64 = 1

    @Option(help: "How many seeds to run.")
    var seeds: UInt64?

    @Option(help: "Run seeds for so many minutes.")
    var minutes: Double?

    @Option(help: "Processes that run seeds at the same time; as many as there are processors unless given.")
    var jobs: Int?

    @Flag(help: "Print what happens in the world.")
    var trace = false

    @Option(help: "Seconds of real time that a world may take; after that it is failed, as hanging.")
    var timeLimit = 120.0

    @Flag(help: "Find the fewest faults with which the seed still fails in the same way.")
    var minimise = false

    @Option(help: "Let only these faults of the seed's schedule happen: their numbers, with commas between.")
    var keep: String?

    @Option(help: "Let only these kinds of faults happen: their names, with commas between.")
    var faults: String?

    @Option(
        help: ArgumentHelp(
            "Which worlds: small, dense, wide, paired, exported, real, succession, or mixed, where the seed decides.",
            discussion: "Mixed unless given; with --broken the small worlds in which the variant shows soonest."))
    var profile: ProfileFamily?

    @Option(help: "Break the engine on purpose, to see that it is noticed; 'list' names the ways.")
    var broken: String?

    @Flag(help: "With --broken and --seeds: end when the oracle that is meant for the variant has noticed it; 0 then.")
    var untilNoticed = false

    @Flag(help: "Print each seed's hash.")
    var hashes = false

    @Option(name: .customLong("step"), help: .private)
    var step: UInt64?

    func validate() throws {
        if seeds != nil && minutes != nil { throw ValidationError("--seeds and --minutes: give one of them") }
        if let minutes, minutes <= 0 { throw ValidationError("--minutes is more than 0") }
        if timeLimit <= 0 { throw ValidationError("--time-limit is more than 0") }
        if let jobs, jobs < 1 { throw ValidationError("--jobs is 1 or more") }
        let isMany = seeds != nil || minutes != nil
        if isMany && step == nil && (trace || minimise || keep != nil) {
            throw ValidationError("--trace, --minimise and --keep are for one seed")
        }
        if let broken, broken != "list", BrokenVariant(broken) == nil {
            throw ValidationError("no variant is called \(broken); --broken list names them")
        }
        if faults != nil, kinds == nil { throw ValidationError("--faults takes names of faults with commas between") }
        if keep != nil {
            guard let kept else { throw ValidationError("--keep takes numbers with commas between") }
            let count = kind.profile(seed: seed).faults(seed: seed).count
            if let unknown = kept.first(where: { !(0..<count).contains($0) }) {
                throw ValidationError("seed \(seed) has no fault \(unknown); it has \(count), counted from 0")
            }
        }
    }

    /// The numbers of the faults that happen, where not all do.
    var kept: [Int]? {
        guard let parts = keep?.split(separator: ",").map({ Int($0) }), !parts.contains(nil) else { return nil }
        return parts.compactMap { $0 }
    }

    private var kind: WorldKind {
        WorldKind(variant: broken.flatMap { BrokenVariant($0) }, faults: kinds, family: profile)
    }

    func run() throws {
        if broken == "list" {
            for name in BrokenVariant.names { print(name) }
            return
        }
        if let step {
            runWorker(first: seed, step: step, kind)
        } else if seeds != nil || minutes != nil {
            var soak = Soak(
                first: seed, seeds: seeds, minutes: minutes, jobs: jobs ?? ProcessInfo.processInfo.activeProcessorCount,
                timeLimit: timeLimit, kind: kind, printsHashes: hashes, isUntilNoticed: untilNoticed)
            if try !soak.run() { throw ExitCode.failure }
        } else {
            let world = OneWorld(seed: seed, kind: kind, timeLimit: timeLimit)
            if minimise { try minimise(world) } else { try run(world) }
        }
    }

    private var kinds: Set<FaultKind>? {
        let named = (faults ?? "").split(separator: ",").map { FaultKind(rawValue: String($0)) }
        return faults == nil || named.contains(nil) ? nil : Set(named.compactMap { $0 })
    }

    private func run(_ world: OneWorld) throws {
        let outcome = try world.run(keep: kept, trace: trace ? { print($0) } : nil)
        if let failure = outcome.failure, outcome.hash.isEmpty {
            print("seed \(seed): \(failure.reason)")
        } else {
            let seconds = Double(outcome.counts.simulated) / 1e9
            print(
                "seed \(seed): \(outcome.failure?.reason ?? "sound"); hash \(outcome.hash), "
                    + "\(outcome.counts.acknowledged) I/Os in \(String(format: "%.3f", seconds)) simulated seconds")
        }
        if outcome.failure != nil { throw ExitCode.failure }
    }

    private func minimise(_ world: OneWorld) throws {
        let all = kind.profile(seed: seed).faults(seed: seed)
        guard let (fewest, failure) = try Minimiser(world: world).run(kept ?? Array(all.indices)) else {
            print("seed \(seed): sound")
            return
        }
        print("seed \(seed) fails with \(fewest.count) of its \(all.count) faults: \(failure.reason)")
        for number in fewest { print("  \(number): \(all[number])") }
        let list = fewest.map(String.init).joined(separator: ",")
        print("its history: \(kind.command(seed: seed, "--keep", list.isEmpty ? "''" : list, "--trace"))")
        throw ExitCode.failure
    }
}

extension ProfileFamily: ExpressibleByArgument {}

@main
enum Main {
    static func main() {
        let simulate = Simulate.parseOrExit()
        do { try simulate.run() } catch { Simulate.exit(withError: error) }
    }
}
