import Replication
import Succession
import TargetInterface
import VolumeDriver

/// A bug that the volume or its machines are given on purpose, and the worlds in which it shows soonest: the simulation has
/// to notice it. Bugs of a few microseconds' chance are noticed by sequences that tests script, in `ScriptedFaultTests`.
public struct BrokenVariant: Sendable, CustomStringConvertible {
    /// As `tercet-simulate --broken` takes it.
    public let name: String
    /// The bug in words, and the product that has had it.
    public let explanation: String
    /// Seeds within which it has to be noticed, and what has to notice it: another oracle may do so too, by what follows.
    public let within: Int
    public let oracle: Oracle
    /// The seed by which it was noticed when that was last counted: asked first, so that a test need not run all before it.
    public let seed: UInt64
    package let defect: Defect
    let faults: Set<FaultKind>
    let interval: UInt64
    /// The worlds in which it shows soonest, under those faults.
    let family: ProfileFamily
    /// A use of the volume that those worlds have beside.
    let use: Use?

    /// A use of a volume that only some worlds have.
    enum Use: Sendable {
        case unfenced
        case formers
    }

    public var description: String { name }

    /// The place of the bug.
    package enum Defect: Sendable {
        case engine(DeliberateFault)
        /// Something that the volume relies on does not keep its promise.
        case machine(MachineDefect)
        case target(DeliberateDefect)
        case driver(VolumeDefect)
        case succession(SuccessionDefect)
    }

    /// The variant of a name; `nil` where there is none.
    public init?(_ name: String) {
        guard let found = (Self.all + Self.unmeasured).first(where: { $0.name == name }) else { return nil }
        self = found
    }

    init(
        _ defect: Defect, _ explanation: String, faults: Set<FaultKind>, interval: UInt64 = 20_000_000, within: Int,
        by oracle: Oracle, family: ProfileFamily = .small, in use: Use? = nil, name: String? = nil, seed: UInt64 = 1
    ) {
        switch defect {
        case .engine(let fault): self.name = name ?? "\(fault)"
        case .machine(let fault): self.name = name ?? "\(fault)"
        case .target(let fault): self.name = name ?? "\(fault)"
        case .driver(let fault): self.name = name ?? "\(fault)"
        case .succession(let fault): self.name = name ?? "\(fault)"
        }
        self.use = use
        self.defect = defect
        self.family = family
        self.explanation = explanation
        self.faults = faults
        self.interval = interval
        self.within = within
        self.oracle = oracle
        self.seed = seed
    }

    public static var names: [String] {
        all.map { "\($0.name): \($0.explanation)" }
            + unmeasured.map { "\($0.name) (not measured yet): \($0.explanation)" }
    }
}

extension Profile {
    /// The profile that a seed means, broken in a variant's way; or with these kinds of faults alone, and often.
    ///
    /// - Parameters:
    ///   - family: the seed's family; without it a small world, under the faults under which the variant shows.
    ///   - isBroken: false for the world in which the variant would show, without its bug.
    public init(
        seed: UInt64, family: ProfileFamily? = nil, broken variant: BrokenVariant?, isBroken: Bool = true,
        faults chosen: Set<FaultKind>? = nil
    ) {
        // The seeds of variants were counted in sparse worlds.
        self.init(seed: seed, family: family ?? variant?.family ?? .small, isSparse: family == nil && variant != nil)
        if let variant {
            if family == nil {
                faults = variant.faults
                faultInterval = variant.interval
                // A block that goes bad is what that oracle looks at.
                rots = variant.oracle == .rotNotHandled
                if let use = variant.use { adopt(use) }
            }
            if isBroken { adopt(variant.defect) }
        }
        if let chosen {
            faults = chosen
            faultInterval = 15_000_000
        }
    }

    private mutating func adopt(_ use: BrokenVariant.Use) {
        switch use {
        case .unfenced: leaveUnfenced()
        case .formers: formersAreUsed = true
        }
    }

    private mutating func adopt(_ defect: BrokenVariant.Defect) {
        switch defect {
        case .engine(let fault): deliberateFault = fault
        case .machine(let defect): machineDefect = defect
        case .target(let defect): targetDefect = defect
        case .driver(let defect): driverDefect = defect
        case .succession(let defect): successionDefect = defect
        }
    }
}
