import Base
import NVMeAuthentication
import TargetInterface
import Yams

extension ConfigurationKeys {
    static let host = [
        "nqn", "key", "keyFile", "keyCredential", "controllerKey", "controllerKeyFile", "controllerKeyCredential",
    ]
    static let authentication = ["required", "hashes", "groups", "formerKeySeconds"]
}

/// The hosts of a subsystem, and the keys by which they show who they are.
extension Element {
    /// Hosts: each a name, or an object of a name and keys.
    func hosts() throws(TercetError) -> (names: Set<String>, keys: [String: AuthenticationKeys]) {
        var (names, keys): (Set<String>, [String: AuthenticationKeys]) = ([], [:])
        for element in try array() {
            let values =
                element.node.mapping == nil ? ["nqn": element] : try element.object(keys: ConfigurationKeys.host)
            let name = try element.require("nqn", in: values, as: "the host's NQN")
            let host = try name.string()
            if let text = Configuration.violation(ofNQN: host) { throw name.error(text) }
            if !names.insert(host).inserted {
                throw name.error("'\(host)' is there twice; allowed: each host once")
            }
            keys[host] = try element.keys(values)
        }
        return (names, keys)
    }

    private func keys(_ values: [String: Element]) throws(TercetError) -> AuthenticationKeys? {
        let controller = try key("controllerKey", values)
        guard let host = try key("key", values) else {
            if controller == nil { return nil }
            throw error("a controller's key without one of the host; allowed: both, or the host's alone")
        }
        return AuthenticationKeys(host: host, controller: controller)
    }

    /// A key that is written here, in a file, or in a credential of systemd.
    private func key(_ name: String, _ values: [String: Element]) throws(TercetError) -> AuthenticationKey? {
        let places = [name, "\(name)File", "\(name)Credential"]
        let given = places.filter { values[$0] != nil }
        guard let place = given.first, let value = values[place] else { return nil }
        guard given.count == 1 else {
            throw error("\(given.joined(separator: " and ")); allowed: one of \(places.joined(separator: ", "))")
        }
        let text = try value.string()
        do throws(TercetError) {
            switch place {
            case places[1]: return try AuthenticationKey(contentsOf: text)
            case places[2]: return try AuthenticationKey(contentsOf: try KeyCredential.path(text))
            default: return try AuthenticationKey(parsing: text)
            }
        } catch {
            throw value.error(error.description)
        }
    }

    /// - Parameter keys: those of the subsystem's hosts.
    func authentication(_ keys: [String: AuthenticationKeys]) throws(TercetError) -> AuthenticationDefinition {
        let values = try object(keys: ConfigurationKeys.authentication)
        var authentication = AuthenticationDefinition(keys: keys, isRequired: true)
        if let value = values["required"] { authentication.isRequired = try value.boolean() }
        if let value = values["hashes"] {
            authentication.algorithms.hashes = try value.choices(AuthenticationHash.allCases.map { ($0.name, $0) })
        }
        if let value = values["groups"] {
            authentication.algorithms.groups = try value.choices(AuthenticationGroup.allCases.map { ($0.name, $0) })
        }
        if let value = values["formerKeySeconds"] {
            authentication.formerKeySeconds = try value.integer(in: 0...2_592_000)
        }
        return authentication
    }

    private func choices<Choice: Equatable>(_ known: [(name: String, value: Choice)]) throws(TercetError) -> [Choice] {
        var choices: [Choice] = []
        for element in try array() {
            let choice = try element.choice(known)
            if choices.contains(choice) { throw element.error("it is there twice; allowed: once") }
            choices.append(choice)
        }
        let names = known.map(\.name).joined(separator: ", ")
        if choices.isEmpty { throw error("nothing is allowed, so that nobody could connect; allowed: \(names)") }
        return choices
    }
}

extension ConfigurationValue {
    private static let hidden = ConfigurationValue.text("(hidden)")

    /// The same without keys that are written in it: for people and programs that ask what is configured.
    public var withoutKeys: ConfigurationValue {
        switch self {
        case .array(let elements): return .array(elements.map(\.withoutKeys))
        case .object(let entries):
            return .object(
                entries.map { entry in
                    let isKey = entry.key == "key" || entry.key == "controllerKey"
                    return Entry(entry.key, isKey ? Self.hidden : entry.value.withoutKeys)
                })
        default: return self
        }
    }
}
