import Base
import Yams

/// The configuration of another target, as far as this one can take it over: what nvmetcli saves of Linux's (`nvmetcli save`), and what
/// SPDK's saves of itself (`rpc.py save_config`).
public struct ImportedConfiguration: Equatable, Sendable {
    /// In the form of the configuration file.
    public let document: ConfigurationDocument
    /// Values without an equivalent, a line each: where it stands, what it is, and what was done or is to be done about it.
    public let losses: [String]

    /// Reads a file's text; the maker is known by its form.
    ///
    /// - Parameter file: the name that errors carry.
    /// - Throws: if it is of no known form, or if nothing of it can be served here.
    public init(parsing text: String, file: String) throws(TercetError) {
        let root = ConfigurationValue(try Element.root(of: text, file: file, needs: Self.needs).node)
        let subsystems = root["subsystems"]?.elements ?? []
        var draft = ImportDraft()
        if root["listeners"] != nil {
            throw TercetError(.invalid, "\(file): is a configuration of tercetd already")
        } else if subsystems.contains(where: { $0["subsystem"] != nil }) {
            SPDKImport(root).read(into: &draft)
        } else if root["ports"] != nil || subsystems.contains(where: { $0["nqn"] != nil }) {
            LinuxTargetImport(root).read(into: &draft)
        } else {
            throw TercetError(.invalid, "\(file): is of no known form; allowed: \(Self.needs)")
        }
        let value = draft.value
        guard !draft.listeners.isEmpty else {
            let reasons = draft.losses.joined(separator: "; ")
            throw TercetError(
                .invalid, "\(file): no address at which RDMA is served\(reasons.isEmpty ? "" : ": \(reasons)")")
        }
        do throws(TercetError) {
            document = try ConfigurationDocument(parsing: value.text() + "\n", file: file)
        } catch {
            throw TercetError(.invalid, "what was read breaks a rule: \(error)")
        }
        losses = draft.losses
    }

    private static let needs = "what nvmetcli or SPDK's save_config has written"
}

/// A configuration that is put together from another.
struct ImportDraft {
    /// Subsystems with the addresses at which their hosts found them.
    struct Subsystem {
        var value: ConfigurationValue
        var addresses: [SocketAddress] = []
    }

    /// Values of the whole target.
    var settings: [ConfigurationValue.Entry] = []
    private(set) var listeners: [SocketAddress] = []
    private var referrals: [SocketAddress] = []
    var subsystems: [Subsystem] = []
    private(set) var losses: [String] = []

    mutating func lose(_ place: String, _ what: String) {
        let line = place.isEmpty ? what : "\(place): \(what)"
        if !losses.contains(line) { losses.append(line) }
    }

    /// Says of each key that is not among those given that it has no equivalent.
    mutating func loseOthers(_ value: ConfigurationValue?, but known: [String], at place: String) {
        for entry in value?.entries ?? [] where !known.contains(entry.key) {
            lose(place, "\(entry.key) = \(entry.value.text(indentation: 100).prefix(60)) has no equivalent")
        }
    }

    /// Says of a host with a key that it is left out: without the key anybody could take its name.
    mutating func loseHost(_ host: String, _ reason: String, at place: String) {
        lose(place, "host \(host): \(reason); left out")
    }

    /// An address of an RDMA port, and that it is listened at; `nil`, with the reason, if it cannot be.
    mutating func listener(_ host: ConfigurationValue?, _ port: ConfigurationValue?, at place: String) -> SocketAddress?
    {
        guard let address = address(host, port, at: place) else { return nil }
        if !listeners.contains(address) { listeners.append(address) }
        return address
    }

    mutating func addReferral(_ host: ConfigurationValue?, _ port: ConfigurationValue?, at place: String) {
        guard let address = address(host, port, at: place), !referrals.contains(address) else { return }
        referrals.append(address)
    }

    private mutating func address(
        _ host: ConfigurationValue?, _ port: ConfigurationValue?, at place: String
    ) -> SocketAddress? {
        let text = host?.string ?? ""
        let number = port?.count ?? Int(Configuration.defaultPort)
        guard (1...65535).contains(number), let address = SocketAddress(host: text, port: UInt16(number)) else {
            lose(place, "'\(text)', port \(number), is no address in numbers; left out")
            return nil
        }
        return address
    }

    /// Takes a size or a count over, within what is allowed here.
    mutating func set(_ key: String, _ number: Int, within range: ClosedRange<Int>, at place: String) {
        let value = min(max(number, range.lowerBound), range.upperBound)
        if value != number { lose(place, "\(number) is out of range for \(key); \(value) is taken") }
        settings.removeAll { $0.key == key }
        settings.append(.init(key, .number("\(value)")))
    }

    /// A subsystem some of whose hosts have a key, and others none: these are let in by their name, as they were.
    private mutating func authenticated(_ subsystem: ConfigurationValue, at place: String) -> ConfigurationValue {
        let hosts = subsystem["hosts"]?.elements ?? []
        let keyless = hosts.compactMap(\.string)
        guard !keyless.isEmpty, keyless.count < hosts.count else { return subsystem }
        lose(
            place,
            "hosts without a key are let in by their name, as before: \(keyless.sorted().joined(separator: ", ")); with a "
                + "key for each, take \"authentication\" out")
        var value = subsystem
        value["authentication"] = .object([.init("required", .boolean(false))])
        return value
    }

    /// All of it, in the form of the configuration file.
    var value: ConfigurationValue {
        mutating get {
            var root = ConfigurationValue.object(settings)
            root["listeners"] = .array(listeners.map { ConfigurationDocument.value(of: $0) })
            if !referrals.isEmpty {
                let list = referrals.map { ConfigurationDocument.value(of: $0) }
                root["discovery"] = .object([.init("referrals", .array(list))])
            }
            var kept: [ConfigurationValue] = []
            for subsystem in subsystems {
                let place = "subsystem \(subsystem.value["nqn"]?.string ?? "")"
                // Hosts that could not reach it must not reach it here.
                guard !subsystem.addresses.isEmpty else {
                    lose(place, "it is at no address where RDMA is served; left out")
                    continue
                }
                let others = listeners.filter { !subsystem.addresses.contains($0) }
                if !others.isEmpty {
                    let list = others.map(\.description).joined(separator: ", ")
                    lose(place, "here each subsystem is at all addresses; its hosts find it at \(list) too")
                }
                kept.append(authenticated(subsystem.value, at: place))
            }
            root["subsystems"] = .array(kept)
            return root
        }
    }
}

extension ConfigurationValue {
    /// The whole number that it is, also where it is written as text.
    var count: Int? { integer ?? string.flatMap { Int($0) } }

    /// It says yes: `true`, 1 or "1".
    var isTrue: Bool { self == .boolean(true) || count == 1 }

    /// An identifier that somebody has given: neither empty nor all zeroes.
    var identifier: String? {
        guard let string, string.contains(where: { $0.isHexDigit && $0 != "0" }) else { return nil }
        return string
    }

    /// A path as the backing of a namespace is written.
    static func backing(path: String) -> ConfigurationValue {
        .text(path.split(separator: ",", omittingEmptySubsequences: false).joined(separator: "\\,"))
    }
}
