import Base
import NVMeAuthentication

/// The file that nvmetcli saves of Linux's target: the attributes of its configfs, mostly as text (Linux, drivers/nvme/target/configfs.c).
struct LinuxTargetImport {
    private let root: ConfigurationValue

    /// The attributes of authentication of hosts that show who they are by a key, without the prefix `dhchap_`.
    private let keyedHosts: [String: [String: String]]

    init(_ root: ConfigurationValue) {
        self.root = root
        var keyed: [String: [String: String]] = [:]
        for host in root["hosts"]?.elements ?? [] {
            var values: [String: String] = [:]
            for entry in host.entries + (host["attr"]?.entries ?? []) where entry.key.hasPrefix("dhchap_") {
                values[String(entry.key.dropFirst(7))] = entry.value.string
            }
            for entry in host["dhchap"]?.entries ?? [] { values[entry.key] = entry.value.string }
            values = values.filter { !$0.value.isEmpty }
            if let name = host["nqn"]?.string, values.keys.contains(where: { $0.hasSuffix("key") }) {
                keyed[name] = values
            }
        }
        keyedHosts = keyed
    }

    func read(into draft: inout ImportDraft) {
        draft.loseOthers(root, but: ["hosts", "ports", "subsystems"], at: "")
        for subsystem in root["subsystems"]?.elements ?? [] {
            draft.subsystems.append(.init(value: self.subsystem(subsystem, &draft)))
        }
        for port in root["ports"]?.elements ?? [] { self.port(port, &draft) }
    }

    private func port(_ port: ConfigurationValue, _ draft: inout ImportDraft) {
        let place = "port \(port["portid"]?.count ?? 0)"
        let location = port["addr"]
        let transport = location?["trtype"]?.string ?? "no transport"
        guard transport == "rdma" else {
            return draft.lose(
                place, "\(transport) at \(location?["traddr"]?.string ?? "") is not served, only RDMA is; left out")
        }
        guard let address = draft.listener(location?["traddr"], location?["trsvcid"], at: place) else { return }
        draft.loseOthers(
            port, but: ["addr", "ana_groups", "param", "portid", "referrals", "subsystems"], at: place)
        if location?["treq"]?.string == "required" { draft.lose(place, "there is no secure channel; treq is left out") }
        draft.loseOthers(
            location, but: ["adrfam", "traddr", "treq", "trsvcid", "trtype", "tsas"], at: place)
        // -1 leaves it to the transport.
        if let size = port["param"]?["inline_data_size"]?.count, size >= 0 {
            draft.set("inCapsuleDataSize", size / 16 * 16, within: 0...(64 << 10), at: place)
        }
        if port["param"]?["pi_enable"]?.isTrue == true { draft.lose(place, "there is no protection information") }
        if let depth = port["param"]?["max_queue_size"]?.count, depth > 0 {
            draft.set("queueDepth", depth, within: 2...1024, at: place)
        }
        draft.loseOthers(port["param"], but: ["inline_data_size", "max_queue_size", "pi_enable"], at: place)
        for referral in port["referrals"]?.elements ?? [] {
            let name = "\(place): referral \(referral["name"]?.string ?? "")"
            guard referral["addr"]?["trtype"]?.string == "rdma", referral["enable"].map(\.isTrue) ?? true else {
                draft.lose(name, "it is off, or not of RDMA; left out")
                continue
            }
            draft.addReferral(referral["addr"]?["traddr"], referral["addr"]?["trsvcid"], at: name)
        }
        for name in port["subsystems"]?.elements.compactMap(\.string) ?? [] {
            guard let index = draft.subsystems.firstIndex(where: { $0.value["nqn"]?.string == name }) else {
                draft.lose(place, "there is no subsystem '\(name)'; left out")
                continue
            }
            draft.subsystems[index].addresses.append(address)
            let states = states(port["ana_groups"]?.elements ?? [], address, place, &draft)
            guard !states.isEmpty else { continue }
            let before = draft.subsystems[index].value["anaGroups"]?.elements ?? []
            draft.subsystems[index].value["anaGroups"] = .array(before + states)
        }
    }

    /// The states of a port's ANA groups; optimized is what groups are without one.
    private func states(
        _ groups: [ConfigurationValue], _ address: SocketAddress, _ place: String, _ draft: inout ImportDraft
    ) -> [ConfigurationValue] {
        let names = [
            "optimized": "", "non-optimized": "nonOptimized", "inaccessible": "inaccessible",
            "persistent-loss": "persistentLoss", "change": "change",
        ]
        var states: [ConfigurationValue] = []
        for group in groups {
            let number = group["grpid"]?.count ?? 0
            let text = group["ana"]?["state"]?.string ?? "optimized"
            guard let state = names[text], (1...128).contains(number) else {
                draft.lose(place, "ANA group \(number) in the state \(text) has no equivalent; left out")
                continue
            }
            guard !state.isEmpty else { continue }
            states.append(
                .object([
                    .init("id", .number("\(number)")), .init("state", .text(state)),
                    .init("listener", ConfigurationDocument.value(of: address)),
                ]))
        }
        return states
    }

    private func subsystem(_ subsystem: ConfigurationValue, _ draft: inout ImportDraft) -> ConfigurationValue {
        let name = subsystem["nqn"]?.string ?? ""
        let (place, attributes) = ("subsystem \(name)", subsystem["attr"])
        var value = ConfigurationValue.object([.init("nqn", .text(name))])
        value["serial"] =
            attributes?["serial"]?.string.map { .text($0) } ?? attributes?["serial"]?.integer.map { .text("\($0)") }
        value["model"] = attributes?["model"]?.string.map { .text($0) }
        let hosts = subsystem["allowed_hosts"]?.elements ?? []
        if attributes?["allow_any_host"]?.isTrue == true {
            value["allowAnyHost"] = .boolean(true)
            if !hosts.isEmpty {
                draft.lose(place, "any host is allowed, so that the \(hosts.count) named ones are left out")
            }
        } else {
            value["hosts"] = .array(hosts.compactMap { self.host($0, place, &draft) })
        }
        if let queues = attributes?["qid_max"]?.count, queues != 128 {
            if queues > 64 { draft.lose(place, "qid_max \(queues): a controller has 64 I/O queues at the most") }
            value["maxIOQueues"] = .number("\(min(max(queues, 1), 64))")
        }
        if let first = attributes?["cntlid_min"]?.count, let last = attributes?["cntlid_max"]?.count,
            (first, last) != (1, 65519)
        {
            value["controllerIDs"] = .object([.init("first", .number("\(first)")), .init("last", .number("\(last)"))])
        }
        let known = ["allow_any_host", "serial", "model", "qid_max", "cntlid_min", "cntlid_max", "pi_enable"]
        let own = ["version", "ieee_oui", "firmware"]
        if own.contains(where: { attributes?[$0] != nil }) {
            draft.lose(place, "\(own.joined(separator: ", ")): hosts see those of tercetd")
        }
        if attributes?["pi_enable"]?.isTrue == true { draft.lose(place, "there is no protection information") }
        draft.loseOthers(attributes, but: known + own, at: place)
        if subsystem["passthru"]?["enable"]?.isTrue == true {
            draft.lose(place, "a controller cannot be passed through; name its namespaces")
        }
        draft.loseOthers(
            subsystem, but: ["nqn", "attr", "allowed_hosts", "namespaces", "passthru"], at: place)
        value["namespaces"] = .array(
            (subsystem["namespaces"]?.elements ?? []).compactMap { namespace($0, place, &draft) })
        return value
    }

    /// A host of a subsystem, with its keys if it has any; `nil`, and said, where these are none.
    private func host(
        _ host: ConfigurationValue, _ place: String, _ draft: inout ImportDraft
    ) -> ConfigurationValue? {
        guard let name = host.string, let attributes = keyedHosts[name] else { return host }
        var value = ConfigurationValue.object([.init("nqn", .text(name))])
        for (theirs, ours) in [("key", "key"), ("ctrl_key", "controllerKey")] {
            guard let text = attributes[theirs] else { continue }
            do throws(TercetError) { _ = try AuthenticationKey(parsing: text) } catch {
                draft.loseHost(name, "its dhchap_\(theirs) cannot be read: \(error)", at: place)
                return nil
            }
            value[ours] = .text(text)
        }
        guard value["key"] != nil else {
            draft.loseHost(name, "it has dhchap_ctrl_key without dhchap_key", at: place)
            return nil
        }
        for (attribute, list) in [("hash", "hashes"), ("dhgroup", "groups")] {
            guard let text = attributes[attribute] else { continue }
            draft.lose(
                place,
                "host \(name): dhchap_\(attribute) = \(text): here it is the subsystem's, \"authentication\": "
                    + "{ \"\(list)\": [ ... ] }")
        }
        return value
    }

    private func namespace(
        _ namespace: ConfigurationValue, _ subsystem: String, _ draft: inout ImportDraft
    ) -> ConfigurationValue? {
        let number = namespace["nsid"]?.count ?? 0
        let (place, device) = ("\(subsystem): namespace \(number)", namespace["device"])
        guard let path = device?["path"]?.string, !path.isEmpty else {
            draft.lose(place, "it has no device; left out")
            return nil
        }
        guard namespace["enable"].map(\.isTrue) ?? true else {
            draft.lose(place, "\(path) is not enabled; left out")
            return nil
        }
        var backing = ConfigurationValue.backing(path: path)
        if namespace["buffered_io"]?.isTrue == true || device?["buffered_io"]?.isTrue == true {
            backing = .text((backing.string ?? "") + ",buffered")
        }
        var value = ConfigurationValue.object([.init("nsid", .number("\(number)")), .init("backing", backing)])
        value["uuid"] = device?["uuid"]?.identifier.map { .text($0) }
        value["nguid"] = device?["nguid"]?.identifier.map { .text($0) }
        let group = namespace["ana_grpid"]?.count ?? namespace["ana"]?["grpid"]?.count ?? 1
        if group > 1 { value["anaGroup"] = .number("\(group)") }
        draft.loseOthers(
            namespace, but: ["nsid", "device", "enable", "ana", "ana_grpid", "buffered_io", "resv"], at: place)
        draft.loseOthers(device, but: ["path", "uuid", "nguid", "buffered_io"], at: place)
        return value
    }
}
