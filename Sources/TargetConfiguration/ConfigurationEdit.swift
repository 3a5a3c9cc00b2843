import Base

/// A change of a configuration, with the name of its control method. All that a configuration can say is changed by these.
public struct ConfigurationEdit: Sendable {
    /// A parameter of the method.
    public struct Parameter: Sendable {
        public let name: String
        public let isRequired: Bool

        static func required(_ names: String...) -> [Parameter] { names.map { Parameter(name: $0, isRequired: true) } }
        static func optional(_ names: [String]) -> [Parameter] { names.map { Parameter(name: $0, isRequired: false) } }
    }

    typealias Body = @Sendable (inout ConfigurationDocument, ConfigurationValue) throws(TercetError) -> Void

    public let method: String
    /// One line for people.
    public let abstract: String
    public let parameters: [Parameter]
    private let body: Body

    init(_ method: String, _ abstract: String, _ parameters: [Parameter], _ body: @escaping Body) {
        self.method = method
        self.abstract = abstract
        self.parameters = parameters
        self.body = body
    }

    /// Makes the change.
    ///
    /// - Throws: with the document unchanged, if a parameter is unknown or missing, what is to be changed is not there, or what is
    ///   to be added is. Values are checked when the document is read.
    public func apply(_ given: ConfigurationValue, to document: inout ConfigurationDocument) throws(TercetError) {
        let names = parameters.map(\.name)
        let allowed = "allowed: \(names.isEmpty ? "none" : names.joined(separator: ", "))"
        guard case .object(let entries) = given else {
            throw TercetError(.invalid, "\(method): the parameters are no object; \(allowed)")
        }
        for entry in entries where !names.contains(entry.key) {
            let guess = Spelling.nearest(to: entry.key, in: names).map { "did you mean '\($0)'? " } ?? ""
            throw TercetError(.invalid, "\(method): '\(entry.key)' is unknown; \(guess)\(allowed)")
        }
        for parameter in parameters where parameter.isRequired && given[parameter.name] ?? .null == .null {
            throw TercetError(.invalid, "\(method): '\(parameter.name)' is missing; \(allowed)")
        }
        var changed = document
        try body(&changed, given)
        document = changed
    }

    /// All of them, in the order in which people learn them.
    public static let all =
        subsystemEdits + namespaceEdits + hostEdits + addressEdits + anaEdits + [
            ConfigurationEdit(
                "settings.set", "Changes values that hold for the whole target; null takes one back.",
                Parameter.optional(ConfigurationKeys.settings)
            ) { (document, given) in
                document.root.set(given.entries, order: ConfigurationKeys.all)
            },
            ConfigurationEdit(
                "state.set", "Replaces the whole configuration.", Parameter.required("configuration")
            ) { (document, given) in
                document.root = given["configuration"]?.ordered ?? .null
            },
        ]

    // MARK: Subsystems and namespaces

    private static var subsystemEdits: [ConfigurationEdit] {
        let others = Array(ConfigurationKeys.subsystem.dropFirst())
        return [
            ConfigurationEdit(
                "subsystem.add", "Adds a subsystem.", Parameter.required("nqn") + Parameter.optional(others)
            ) { (document, given) throws(TercetError) in
                let nqn = given["nqn"]?.string ?? ""
                if document.position(ofSubsystem: nqn) != nil {
                    throw TercetError(.exists, "there is a subsystem '\(nqn)' already; subsystem.set changes it")
                }
                document.subsystems.append(given.ordered)
            },
            ConfigurationEdit(
                "subsystem.set", "Changes values of a subsystem; null takes one back.",
                Parameter.required("nqn") + Parameter.optional(others)
            ) { (document, given) throws(TercetError) in
                let place = try document.subsystem(given["nqn"])
                // Either is said, not both: setting the one is meant to replace the other.
                let (hosts, anyHost) = (given["hosts"] ?? .null, given["allowAnyHost"] ?? .null)
                if hosts != .null, anyHost == .null { document.subsystems[place]["allowAnyHost"] = nil }
                if anyHost == .boolean(true), hosts == .null { document.subsystems[place]["hosts"] = nil }
                document.subsystems[place].set(given.entries, order: ConfigurationKeys.subsystem)
            },
            ConfigurationEdit(
                "subsystem.remove", "Removes a subsystem; its hosts are disconnected.", Parameter.required("nqn")
            ) { (document, given) throws(TercetError) in
                document.subsystems.remove(at: try document.subsystem(given["nqn"]))
            },
        ]
    }

    private static var namespaceEdits: [ConfigurationEdit] {
        let others = Array(ConfigurationKeys.namespace.dropFirst())
        return [
            ConfigurationEdit(
                "namespace.add", "Adds a namespace to a subsystem.",
                Parameter.required("subsystem", "nsid", "backing") + Parameter.optional(Array(others.dropFirst()))
            ) { (document, given) throws(TercetError) in
                let place = try document.subsystem(given["subsystem"])
                if let nsid = given["nsid"], document.position(ofNamespace: nsid, in: place) != nil {
                    throw TercetError(
                        .exists,
                        "subsystem '\(given["subsystem"]?.string ?? "")' has a namespace \(nsid.text()) already; "
                            + "namespace.set changes it")
                }
                var namespace = given
                namespace["subsystem"] = nil
                document.subsystems[place].list("namespaces", ConfigurationKeys.subsystem) {
                    $0.append(namespace.ordered)
                }
            },
            ConfigurationEdit(
                "namespace.set", "Changes values of a namespace; null takes one back.",
                Parameter.required("subsystem", "nsid") + Parameter.optional(others)
            ) { (document, given) throws(TercetError) in
                let (place, number) = try document.namespace(given)
                let entries = given.entries.filter { $0.key != "subsystem" }
                document.subsystems[place].list("namespaces", ConfigurationKeys.subsystem) {
                    $0[number].set(entries, order: ConfigurationKeys.namespace)
                }
            },
            ConfigurationEdit(
                "namespace.remove", "Removes a namespace; hosts that are registered with it are disconnected.",
                Parameter.required("subsystem", "nsid")
            ) { (document, given) throws(TercetError) in
                let (place, number) = try document.namespace(given)
                document.subsystems[place].list("namespaces", ConfigurationKeys.subsystem) { $0.remove(at: number) }
            },
        ]
    }

    // MARK: Addresses, groups

    private static var addressEdits: [ConfigurationEdit] {
        func edits(
            _ name: String, _ thing: String, _ list: WritableKeyPath<ConfigurationDocument, [ConfigurationValue]>
        )
            -> [ConfigurationEdit]
        {
            let parameters = Parameter.required("address") + Parameter.optional(["port"])
            nonisolated(unsafe) let list = list
            return [
                ConfigurationEdit("\(name).add", "Adds \(thing).", parameters) { (document, given) in
                    document[keyPath: list].append(given.ordered)
                },
                ConfigurationEdit("\(name).remove", "Removes \(thing).", parameters) {
                    (document, given) throws(TercetError) in
                    let wanted = given.address
                    guard let place = document[keyPath: list].firstIndex(where: { $0.address == wanted }) else {
                        let known = document[keyPath: list].map { $0.text() }
                        throw TercetError(
                            .notFound,
                            "there is no \(name) \(given.text()); there are: "
                                + (known.isEmpty ? "none" : known.joined(separator: ", ")))
                    }
                    document[keyPath: list].remove(at: place)
                },
            ]
        }
        return edits("listener", "an address to listen at; its connections stay when it is removed", \.listeners)
            + edits("referral", "another discovery service that the discovery log names", \.referrals)
    }

    /// The element of `anaGroups` that parameters mean.
    private static func place(_ groups: [ConfigurationValue], _ given: ConfigurationValue) -> Int? {
        groups.firstIndex { $0["id"] == given["group"] && $0["listener"]?.address == given["listener"]?.address }
    }

    private static var anaEdits: [ConfigurationEdit] {
        [
            ConfigurationEdit(
                "ana.set", "Sets the state of an ANA group, for all hosts or for those of a listener.",
                Parameter.required("subsystem", "group", "state") + Parameter.optional(["listener"])
            ) { (document, given) throws(TercetError) in
                let subsystem = try document.subsystem(given["subsystem"])
                document.subsystems[subsystem].list("anaGroups", ConfigurationKeys.subsystem) { groups in
                    if let place = place(groups, given) {
                        groups[place]["state"] = given["state"]
                    } else {
                        var group = ConfigurationValue.object([])
                        group["id"] = given["group"]
                        group["state"] = given["state"]
                        group["listener"] = given["listener"]?.ordered
                        groups.append(group)
                    }
                }
            },
            ConfigurationEdit(
                "ana.clear", "Takes back what was said of an ANA group: it is optimized, or as at other listeners.",
                Parameter.required("subsystem", "group") + Parameter.optional(["listener"])
            ) { (document, given) throws(TercetError) in
                let subsystem = try document.subsystem(given["subsystem"])
                guard let number = place(document.subsystems[subsystem]["anaGroups"]?.elements ?? [], given) else {
                    throw TercetError(.notFound, "nothing is said of ANA group \(given["group"]?.text() ?? "") there")
                }
                document.subsystems[subsystem].list("anaGroups", ConfigurationKeys.subsystem) {
                    $0.remove(at: number)
                }
                // Nothing is said any more: as if nothing had been said.
                if document.subsystems[subsystem]["anaGroups"] == .array([]) {
                    document.subsystems[subsystem]["anaGroups"] = nil
                }
            },
        ]
    }
}

// MARK: Places in a document

extension ConfigurationDocument {
    var subsystems: [ConfigurationValue] {
        get { root["subsystems"]?.elements ?? [] }
        set { root.list("subsystems", ConfigurationKeys.all) { $0 = newValue } }
    }

    fileprivate var listeners: [ConfigurationValue] {
        get { root["listeners"]?.elements ?? [] }
        set { root.list("listeners", ConfigurationKeys.all) { $0 = newValue } }
    }

    fileprivate var referrals: [ConfigurationValue] {
        get { root["discovery"]?["referrals"]?.elements ?? [] }
        set {
            var discovery = root["discovery"] ?? .object([])
            discovery["referrals"] = newValue.isEmpty ? nil : .array(newValue)
            let isEmpty = discovery.entries.isEmpty
            root.set([.init("discovery", isEmpty ? .null : discovery)], order: ConfigurationKeys.all)
        }
    }

    fileprivate func position(ofSubsystem nqn: String) -> Int? {
        subsystems.firstIndex { $0["nqn"]?.string == nqn }
    }

    func subsystem(_ nqn: ConfigurationValue?) throws(TercetError) -> Int {
        if let name = nqn?.string, let place = position(ofSubsystem: name) { return place }
        let names = subsystems.compactMap { $0["nqn"]?.string }
        throw TercetError(
            .notFound,
            "there is no subsystem \(nqn?.text() ?? "''"); there are: \(names.isEmpty ? "none" : names.joined(separator: ", "))"
        )
    }

    fileprivate func position(ofNamespace nsid: ConfigurationValue, in subsystem: Int) -> Int? {
        guard let number = nsid.integer else { return nil }
        return subsystems[subsystem]["namespaces"]?.elements.firstIndex { $0["nsid"]?.integer == number }
    }

    fileprivate func namespace(_ given: ConfigurationValue) throws(TercetError) -> (subsystem: Int, namespace: Int) {
        let place = try subsystem(given["subsystem"])
        if let nsid = given["nsid"], let number = position(ofNamespace: nsid, in: place) { return (place, number) }
        let known = (subsystems[place]["namespaces"]?.elements ?? []).compactMap { $0["nsid"]?.text() }
        throw TercetError(
            .notFound,
            "subsystem '\(given["subsystem"]?.string ?? "")' has no namespace \(given["nsid"]?.text() ?? "''"); it has: "
                + (known.isEmpty ? "none" : known.joined(separator: ", ")))
    }
}

extension ConfigurationValue {
    /// Sets entries; `null` removes one. New keys come in the order of a schema, before those of later keys.
    fileprivate mutating func set(_ changes: [Entry], order: [String]) {
        for change in changes {
            if change.value == .null {
                self[change.key] = nil
            } else if self[change.key] != nil {
                self[change.key] = change.value.ordered
            } else {
                let later = Set(order.drop { $0 != change.key }.dropFirst())
                let place = entries.firstIndex { later.contains($0.key) } ?? entries.count
                entries.insert(Entry(change.key, change.value.ordered), at: place)
            }
        }
    }

    /// Changes the array of a key; it is made if there is none.
    mutating func list(
        _ key: String, _ order: [String], _ change: (inout [ConfigurationValue]) -> Void
    ) {
        var elements = self[key]?.elements ?? []
        change(&elements)
        if self[key] == nil { set([Entry(key, .array([]))], order: order) }
        self[key] = .array(elements)
    }

    /// The same with the keys of all objects in the order of the file's schema: keys of parameters have none.
    var ordered: ConfigurationValue {
        switch self {
        case .array(let elements): return .array(elements.map(\.ordered))
        case .object(let entries):
            let schema =
                [
                    ConfigurationKeys.host, ConfigurationKeys.namespace, ConfigurationKeys.subsystem,
                    ConfigurationKeys.pool,
                    ConfigurationKeys.all,
                ]
                .first { keys in entries.allSatisfy { keys.contains($0.key) } }
                ?? ["address", "port", "id", "state", "listener", "first", "last"]
            let ranked = entries.map { entry in (schema.firstIndex(of: entry.key) ?? schema.count, entry) }
            let sorted = ranked.sorted { ($0.0, $0.1.key) < ($1.0, $1.1.key) }
            return .object(sorted.map { Entry($0.1.key, $0.1.value.ordered) })
        default: return self
        }
    }

    /// The address and the port that an object names, the port as text if it is none; for comparison.
    fileprivate var address: String? {
        guard let host = self["address"]?.string else { return nil }
        let port = self["port"]?.integer ?? Int(Configuration.defaultPort)
        return SocketAddress(host: host, port: UInt16(truncatingIfNeeded: port))?.description ?? "\(host):\(port)"
    }
}
