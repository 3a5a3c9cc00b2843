import VolumeSimulation

/// Which worlds a run has, beside their seeds; handed on to the processes that run them.
struct WorldKind {
    /// How the engine or its machines are broken on purpose.
    let variant: BrokenVariant?
    /// The only faults, if they are not left to the seed or the variant.
    let faults: Set<FaultKind>?
    /// The family that was asked for; `nil` for a mixture, or for what a variant shows in.
    let family: ProfileFamily?

    /// The options that say so.
    var arguments: [String] {
        var arguments: [String] = []
        if let variant { arguments += ["--broken", variant.name] }
        if let family { arguments += ["--profile", family.rawValue] }
        if let faults { arguments += ["--faults", faults.map(\.rawValue).sorted().joined(separator: ",")] }
        return arguments
    }

    /// The command that runs a seed's world again, with further options.
    func command(seed: UInt64, _ options: String...) -> String {
        (["tercet-simulate", "--seed", "\(seed)"] + arguments + options).joined(separator: " ")
    }

    func profile(seed: UInt64) -> Profile {
        let family = family ?? (variant == nil ? .mixed : nil)
        return Profile(seed: seed, family: family, broken: variant, faults: faults)
    }
}
