import Base
import BlockInterface
import NVMeSpec
import TargetInterface

/// Rules that hold between the values of a configuration, wherever they come from.
extension Configuration {
    /// The first rule that is broken.
    func firstViolation() -> Violation? {
        do throws(Violation) {
            try checkSizes()
            try checkListeners()
            for (position, subsystem) in definition.subsystems.enumerated() {
                try Self.check(subsystem, at: "subsystems[\(position)]")
                try checkANAStates(of: subsystem, at: "subsystems[\(position)].anaGroups")
                try Self.checkPool(of: subsystem, at: "subsystems[\(position)]")
                try Self.checkAuthentication(of: subsystem, at: "subsystems[\(position)]")
            }
            try checkUniqueness()
            return nil
        } catch {
            return error
        }
    }

    /// The problem that makes a name unusable, or `nil`. Names that have not the form of the specification are in use in the field
    /// (`testnqn`): they are taken, with a remark.
    static func violation(ofNQN name: String) -> String? {
        do throws(InvalidNQN) {
            try NQN.validate(name)
            return nil
        } catch {
            guard error.isOfForm else { return "'\(name)': \(error); allowed: \(form)" }
            return name.isEmpty ? "'': a name is needed; allowed: \(form)" : nil
        }
    }

    private static let form = "nqn.YYYY-MM.REVERSE.DOMAIN:NAME or \(NQN.uuidPrefix)UUID"

    /// Values that are taken although the specification wants them otherwise, a line each.
    public var remarks: [String] {
        var remarks: [String] = []
        func look(_ name: String, _ what: String) {
            do throws(InvalidNQN) { try NQN.validate(name) } catch {
                remarks.append(
                    "\(what) '\(name)': \(error); it is taken as it is, but other programs may refuse it: "
                        + "the form is \(Self.form)")
            }
        }
        for subsystem in definition.subsystems {
            look(subsystem.nqn, "subsystem")
            if case .hosts(let hosts) = subsystem.access {
                for host in hosts.sorted() { look(host, "subsystem \(subsystem.nqn): host") }
            }
        }
        return remarks
    }

    private func checkSizes() throws(Violation) {
        if definition.options.inCapsuleDataSize % 16 != 0 {
            throw Violation(
                path: "inCapsuleDataSize",
                text: "\(definition.options.inCapsuleDataSize) is no multiple of 16; allowed: 0 for none, or one")
        }
        if definition.options.maxTransferSize & (definition.options.maxTransferSize - 1) != 0 {
            throw Violation(
                path: "maxIOSize",
                text: "\(definition.options.maxTransferSize) is no power of two; allowed: 4K, 8K, ... 16M")
        }
        if definition.options.dataMemory < 4 * definition.options.maxTransferSize {
            throw Violation(
                path: "dataMemory",
                text:
                    "\(definition.options.dataMemory) is too little for transfers of \(definition.options.maxTransferSize); allowed: \(4 * definition.options.maxTransferSize) or more"
            )
        }
    }

    private func checkListeners() throws(Violation) {
        if definition.listeners.isEmpty {
            throw Violation(path: "listeners", text: "there is none; allowed: one address or more")
        }
        for (position, listener) in definition.listeners.enumerated()
        where definition.listeners[..<position].contains(listener) {
            throw Violation(
                path: "listeners[\(position)]", text: "\(listener) is there twice; allowed: each address once")
        }
        for (position, referral) in definition.referrals.enumerated()
        where definition.referrals[..<position].contains(referral) {
            throw Violation(
                path: "discovery.referrals[\(position)]", text: "\(referral) is there twice; allowed: each address once"
            )
        }
    }

    private func checkANAStates(of subsystem: SubsystemDefinition, at path: String) throws(Violation) {
        for listener in subsystem.anaStates.keys.compactMap(\.listener) where !definition.listeners.contains(listener) {
            throw Violation(
                path: path,
                text: "\(listener) is no listener; allowed: "
                    + definition.listeners.map(\.description).joined(separator: ", "))
        }
    }

    private static func check(_ subsystem: SubsystemDefinition, at path: String) throws(Violation) {
        if let text = violation(ofNQN: subsystem.nqn) { throw Violation(path: "\(path).nqn", text: text) }
        if subsystem.nqn == NQN.discovery {
            throw Violation(
                path: "\(path).nqn", text: "the discovery subsystem is there by itself; allowed: a name of your own")
        }
        if let serial = subsystem.serialNumber { try check(serial, isPrintableUpTo: 20, at: "\(path).serial") }
        try check(subsystem.modelNumber, isPrintableUpTo: 40, at: "\(path).model")
        for (position, namespace) in subsystem.namespaces.enumerated()
        where subsystem.namespaces[..<position].contains(where: { $0.nsid == namespace.nsid }) {
            throw Violation(
                path: "\(path).namespaces[\(position)].nsid",
                text: "\(namespace.nsid) is there twice; allowed: each namespace identifier once")
        }
    }

    private static func checkPool(of subsystem: SubsystemDefinition, at path: String) throws(Violation) {
        guard let pool = subsystem.pool else { return }
        if !subsystem.namespaces.isEmpty {
            throw Violation(
                path: "\(path).namespaces",
                text: "a pool makes its namespaces itself; allowed: \"namespaces\" or \"pool\"")
        }
        guard let stranger = pool.managers.sorted().first(where: { !subsystem.access.allows($0) }) else { return }
        throw Violation(
            path: "\(path).pool.managers",
            text: "'\(stranger)' may not connect; allowed: hosts of the subsystem")
    }

    private static func checkAuthentication(of subsystem: SubsystemDefinition, at path: String) throws(Violation) {
        guard subsystem.authentication.isRequired else { return }
        guard case .hosts(let hosts) = subsystem.access else {
            throw Violation(
                path: "\(path).authentication",
                text: "any host may connect, and has no key; allowed: \"hosts\" with keys, or \"required\": false")
        }
        if let host = hosts.sorted().first(where: { subsystem.authentication.keys[$0] == nil }) {
            throw Violation(
                path: "\(path).hosts",
                text: "'\(host)' has no key, though the subsystem's hosts have to authenticate; allowed: a key, or "
                    + "\"authentication\": { \"required\": false }, which lets in whoever uses that name")
        }
    }

    private static func check(_ text: String, isPrintableUpTo limit: Int, at path: String) throws(Violation) {
        let isPrintable = text.utf8.allSatisfy { (0x20...0x7e).contains($0) }
        if !isPrintable || text.isEmpty || text.utf8.count > limit {
            throw Violation(
                path: path, text: "'\(text)' does not fit; allowed: 1 to \(limit) printable ASCII characters")
        }
    }

    /// Names, identifiers and paths that must not be there twice.
    private func checkUniqueness() throws(Violation) {
        var owners: [String: String] = [:]
        func claim(_ thing: String, _ path: String, _ allowed: String) throws(Violation) {
            if let owner = owners.updateValue(path, forKey: thing) {
                throw Violation(path: path, text: "\(thing) is at \(owner) already; allowed: \(allowed)")
            }
        }
        for (position, subsystem) in definition.subsystems.enumerated() {
            try claim("'\(subsystem.nqn)'", "subsystems[\(position)].nqn", "each NQN once")
            if let pool = subsystem.pool {
                try claim("the folder '\(pool.folder)'", "subsystems[\(position)].pool.folder", "each pool its own")
            }
            for (number, namespace) in subsystem.namespaces.enumerated() {
                let path = "subsystems[\(position)].namespaces[\(number)]"
                let identity = namespace.identity
                if let uuid = identity.uuid {
                    try claim("the UUID \(Self.text(uuid))", "\(path).uuid", "each UUID once")
                }
                if let nguid = identity.nguid {
                    try claim("the NGUID \(Self.text(nguid))", "\(path).nguid", "each NGUID once")
                }
                if let eui64 = identity.eui64 {
                    try claim("the EUI64 \(Self.text(eui64))", "\(path).eui64", "each EUI64 once")
                }
                if case .specified(let specification) = namespace.backing, case .path(let file) = specification.backing,
                    !specification.readOnly
                {
                    try claim("'\(file)'", "\(path).backing", "each path once, or several times with readOnly")
                }
            }
        }
    }

    private static func text(_ bytes: [UInt8]) -> String {
        bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }
}
