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

            The exit status is 0 where all worlds were sound, 1 where one was not, 2 for wrong usage.
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

    @Flag(help: "Find the fewest faults with which the seed still fails.")
    var minimise = false

    @Option(help: "Let only these faults of the seed's schedule happen: their numbers, with commas between.")
    var keep: String?

    @Option(help: "Let only these kinds of faults happen: their names, with commas between.")
    var faults: String?

    @Option(help: "Break the engine on purpose, to see that it is noticed; 'list' names the ways.")
    var broken: String?

    @Flag(help: "Print each seed's hash.")
    var hashes = false

    @Option(name: .customLong("step"), help: .private)
    var step: UInt64?

    func validate() throws {
        if seeds != nil && minutes != nil { throw ValidationError("--seeds and --minutes: give one of them") }
        if let minutes, minutes <= 0 { throw ValidationError("--minutes is more than 0") }
        if let jobs, jobs < 1 { throw ValidationError("--jobs is 1 or more") }
        let isMany = seeds != nil || minutes != nil
        if isMany && (trace || minimise || keep != nil) {
            throw ValidationError("--trace, --minimise and --keep are for one seed")
        }
        if let broken, broken != "list", BrokenVariant(broken) == nil {
            throw ValidationError("no variant is called \(broken); --broken list names them")
        }
        if faults != nil, kinds == nil { throw ValidationError("--faults takes names of faults with commas between") }
        if keep != nil, kept == nil { throw ValidationError("--keep takes numbers with commas between") }
    }

    private var kept: [Int]? {
        let parts = (keep ?? "").split(separator: ",").map { Int($0) }
        return parts.contains(nil) ? nil : parts.compactMap { $0 }
    }

    func run() throws {
        if broken == "list" {
            for name in BrokenVariant.names { print(name) }
            return
        }
        let kind = WorldKind(variant: broken.flatMap { BrokenVariant($0) }, faults: kinds)
        if let step {
            runWorker(first: seed, step: step, kind)
        } else if seeds != nil || minutes != nil {
            var soak = Soak(
                first: seed, seeds: seeds, minutes: minutes, jobs: jobs ?? ProcessInfo.processInfo.activeProcessorCount,
                kind: kind, printsHashes: hashes)
            if try !soak.run() { throw ExitCode.failure }
        } else if minimise {
            try minimise(kind)
        } else {
            try runOne(kind)
        }
    }

    private var kinds: Set<FaultKind>? {
        let named = (faults ?? "").split(separator: ",").map { FaultKind(rawValue: String($0)) }
        return faults == nil || named.contains(nil) ? nil : Set(named.compactMap { $0 })
    }

    /// The world of a seed, with some of its faults or all.
    private func world(_ kind: WorldKind, traced: Bool) -> VolumeWorld {
        let profile = kind.profile(seed: seed)
        let all = profile.faults(seed: seed)
        let chosen = keep == nil ? all : (kept ?? []).filter(all.indices.contains).map { all[$0] }
        return VolumeWorld(seed: seed, profile: profile, schedule: chosen, trace: traced ? { print($0) } : nil)
    }

    private func runOne(_ kind: WorldKind) throws {
        let result = world(kind, traced: trace).run()
        let seconds = Double(result.counts.simulated) / 1e9
        print(
            "seed \(seed): \(result.failure ?? "sound"); hash \(String(result.hash, radix: 16)), "
                + "\(result.counts.acknowledged) I/Os in \(String(format: "%.3f", seconds)) simulated seconds")
        if result.failure != nil { throw ExitCode.failure }
    }

    private func minimise(_ kind: WorldKind) throws {
        let all = kind.profile(seed: seed).faults(seed: seed)
        let minimiser = Minimiser(seed: seed, kind: kind)
        guard let fewest = try minimiser.run(Array(all.indices)) else {
            print("seed \(seed): sound")
            return
        }
        print("seed \(seed) fails with \(fewest.count) of its \(all.count) faults:")
        for number in fewest { print("  \(number): \(all[number])") }
        let list = fewest.map(String.init).joined(separator: ",")
        print("its history: \(kind.command(seed: seed, "--keep", list.isEmpty ? "''" : list, "--trace"))")
        throw ExitCode.failure
    }
}

@main
enum Main {
    static func main() {
        let simulate = Simulate.parseOrExit()
        do { try simulate.run() } catch { Simulate.exit(withError: error) }
    }
}
