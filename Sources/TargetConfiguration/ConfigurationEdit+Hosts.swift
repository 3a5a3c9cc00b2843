import Base

extension ConfigurationEdit {
    static var hostEdits: [ConfigurationEdit] {
        let keys = Array(ConfigurationKeys.host.dropFirst())
        return [
            ConfigurationEdit(
                "host.add", "Lets a host connect to a subsystem.",
                Parameter.required("subsystem", "host") + Parameter.optional(keys)
            ) { (document, given) throws(TercetError) in
                let place = try document.subsystem(given["subsystem"])
                if document.subsystems[place]["allowAnyHost"] == .boolean(true) {
                    throw TercetError(
                        .exists,
                        "any host may connect already; allowed: subsystem.set with \"hosts\", which lists those that may"
                    )
                }
                document.subsystems[place].list("hosts", ConfigurationKeys.subsystem) { $0.append(host(given)) }
            },
            ConfigurationEdit(
                "host.set", "Replaces the keys of a host; without any it needs none. Its connections stay.",
                Parameter.required("subsystem", "host") + Parameter.optional(keys)
            ) { (document, given) throws(TercetError) in
                let (place, number) = try document.host(given)
                document.subsystems[place].list("hosts", ConfigurationKeys.subsystem) { $0[number] = host(given) }
            },
            ConfigurationEdit(
                "host.remove", "Lets a host no longer connect; it is disconnected.",
                Parameter.required("subsystem", "host")
            ) { (document, given) throws(TercetError) in
                let (place, number) = try document.host(given)
                document.subsystems[place].list("hosts", ConfigurationKeys.subsystem) { $0.remove(at: number) }
            },
        ]
    }

    /// The element of `hosts` that parameters mean: a name, or an object of a name and keys.
    private static func host(_ given: ConfigurationValue) -> ConfigurationValue {
        let keys = given.entries.filter { ConfigurationKeys.host.contains($0.key) && $0.value != .null }
        guard !keys.isEmpty else { return given["host"] ?? .null }
        return ConfigurationValue.object([.init("nqn", given["host"] ?? .null)] + keys).ordered
    }
}

extension ConfigurationDocument {
    fileprivate func host(_ given: ConfigurationValue) throws(TercetError) -> (subsystem: Int, host: Int) {
        let place = try subsystem(given["subsystem"])
        let names = (subsystems[place]["hosts"]?.elements ?? []).map { $0["nqn"] ?? $0 }
        guard let number = names.firstIndex(where: { $0 == given["host"] }) else {
            throw TercetError(
                .notFound,
                "host \(given["host"]?.text() ?? "") is not listed; there are: "
                    + (names.isEmpty ? "none" : names.map { $0.text() }.joined(separator: ", ")))
        }
        return (place, number)
    }
}
