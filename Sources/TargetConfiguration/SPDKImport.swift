import Base
import NVMeAuthentication

/// The file that SPDK's target saves of itself: the calls by which it would be made anew (SPDK, doc/jsonrpc.md).
struct SPDKImport {
    private let root: ConfigurationValue
    /// Devices by name: the keys of a namespace, or the reason for which there is none.
    private var devices: [String: Device] = [:]
    /// Files of keys by the names that the keyring gives them.
    private var keyFiles: [String: String] = [:]

    private enum Device {
        case keys([ConfigurationValue.Entry])
        case none(String)
    }

    init(_ root: ConfigurationValue) { self.root = root }

    func read(into draft: inout ImportDraft) {
        var reader = self
        for part in root["subsystems"]?.elements ?? [] {
            let name = part["subsystem"]?.string ?? ""
            let calls = part["config"]?.elements ?? []
            for call in calls {
                let (method, parameters) = (call["method"]?.string ?? "", call["params"] ?? .object([]))
                switch name {
                case "bdev": reader.addDevice(method, parameters)
                case "nvmf": reader.apply(method, parameters, &draft)
                case "keyring":
                    if let key = parameters["name"]?.string { reader.keyFiles[key] = parameters["path"]?.string }
                default: break
                }
            }
            if !["bdev", "keyring", "nvmf"].contains(name), !calls.isEmpty {
                draft.lose(name, "\(calls.count) settings of SPDK's own; nothing here needs them")
            }
        }
    }

    private mutating func addDevice(_ method: String, _ parameters: ConfigurationValue) {
        guard let name = parameters["name"]?.string else { return }
        func size() -> String {
            let (count, overflow) = (parameters["num_blocks"]?.count ?? 0).multipliedReportingOverflow(
                by: parameters["block_size"]?.count ?? 512)
            return overflow || count < 0 ? "0" : ByteSize.format(UInt64(count))
        }
        var keys: [ConfigurationValue.Entry]
        switch method {
        case "bdev_aio_create", "bdev_uring_create":
            keys = [.init("backing", .backing(path: parameters["filename"]?.string ?? ""))]
            if parameters["readonly"]?.isTrue == true { keys.append(.init("readOnly", .boolean(true))) }
        case "bdev_malloc_create": keys = [.init("backing", .text("ram:\(size())"))]
        case "bdev_null_create": keys = [.init("backing", .text("null:\(size())"))]
        case "bdev_nvme_attach_controller":
            // Its namespaces are NAMEn1, NAMEn2 and so on.
            let (place, kind) = (parameters["traddr"]?.string ?? "", parameters["trtype"]?.string?.lowercased())
            for number in 1...128 {
                devices["\(name)n\(number)"] =
                    kind == "pcie"
                    ? .keys([.init("backing", .backing(path: "/dev/disk/by-path/pci-\(place)-nvme-\(number)"))])
                    : .none("\(name)n\(number) is a namespace of another target, at \(place)")
            }
            return
        default:
            devices[name] = Device.none("\(name) is made by \(method), which has no equivalent")
            return
        }
        if let block = parameters["block_size"]?.count, block != 512 {
            keys.append(.init("blockSize", .number("\(block)")))
        }
        devices[name] = .keys(keys)
    }

    private func apply(_ method: String, _ parameters: ConfigurationValue, _ draft: inout ImportDraft) {
        let name = parameters["nqn"]?.string ?? ""
        let place = "subsystem \(name)"
        switch method {
        case "nvmf_create_transport": return transport(parameters, &draft)
        case "nvmf_create_subsystem": return draft.subsystems.append(.init(value: subsystem(parameters, &draft)))
        case "nvmf_discovery_add_referral":
            let address = parameters["address"]
            guard isRDMA(address) else { return draft.lose("referral", "only RDMA is served; left out") }
            return draft.addReferral(address?["traddr"], address?["trsvcid"], at: "referral")
        case "nvmf_set_config", "nvmf_set_max_subsystems", "nvmf_set_crdt":
            return draft.lose(method, "a setting of SPDK's own; left out")
        default: break
        }
        guard let index = draft.subsystems.firstIndex(where: { $0.value["nqn"]?.string == name }) else {
            return draft.lose(method, "it has no equivalent; left out")
        }
        switch method {
        case "nvmf_subsystem_add_host":
            // No host is named if any may connect.
            guard let hosts = draft.subsystems[index].value["hosts"]?.elements,
                let host = host(parameters, place, &draft)
            else { return }
            draft.subsystems[index].value["hosts"] = .array(hosts + [host])
        case "nvmf_subsystem_add_listener":
            let location = parameters["listen_address"]
            guard isRDMA(location) else {
                return draft.lose(
                    place,
                    "\(location?["trtype"]?.string ?? "") at \(location?["traddr"]?.string ?? "") is not served, only RDMA is"
                )
            }
            if parameters["secure_channel"]?.isTrue == true { draft.lose(place, "there is no secure channel") }
            guard let address = draft.listener(location?["traddr"], location?["trsvcid"], at: place) else { return }
            draft.subsystems[index].addresses.append(address)
        case "nvmf_subsystem_listener_set_ana_state": setState(parameters, at: index, place, &draft)
        case "nvmf_subsystem_add_ns": addNamespace(parameters["namespace"] ?? .null, at: index, place, &draft)
        case "nvmf_ns_add_host": hide(parameters, at: index, place, &draft)
        default: draft.lose(place, "\(method) has no equivalent; left out")
        }
    }

    /// A host of a subsystem, with its keys if it has any; `nil`, and said, where these are not here.
    private func host(
        _ parameters: ConfigurationValue, _ place: String, _ draft: inout ImportDraft
    ) -> ConfigurationValue? {
        let name = parameters["host"]?.string ?? ""
        if parameters["psk"] != nil {
            draft.loseHost(name, "it proves itself by psk, which is for TCP", at: place)
            return nil
        }
        let given = [("dhchap_key", "keyFile"), ("dhchap_ctrlr_key", "controllerKeyFile")].filter {
            parameters[$0.0] != nil
        }
        guard !given.isEmpty else { return parameters["host"] ?? .null }
        var value = ConfigurationValue.object([.init("nqn", .text(name))])
        for (theirs, ours) in given {
            let key = parameters[theirs]?.string ?? ""
            guard let file = keyFiles[key] else {
                draft.loseHost(name, "its \(theirs) '\(key)' is no file in the keyring", at: place)
                return nil
            }
            do throws(TercetError) { _ = try AuthenticationKey(contentsOf: file) } catch {
                draft.loseHost(name, "its \(theirs) '\(key)': \(error)", at: place)
                return nil
            }
            value[ours] = .text(file)
        }
        guard value["keyFile"] != nil else {
            draft.loseHost(name, "it has dhchap_ctrlr_key without dhchap_key", at: place)
            return nil
        }
        return value
    }

    private func isRDMA(_ address: ConfigurationValue?) -> Bool { address?["trtype"]?.string?.lowercased() == "rdma" }

    private func transport(_ parameters: ConfigurationValue, _ draft: inout ImportDraft) {
        let kind = parameters["trtype"]?.string ?? ""
        guard kind.lowercased() == "rdma" else {
            return draft.lose("transport \(kind)", "only RDMA is served; left out")
        }
        let place = "transport \(kind)"
        let sizes: [(theirs: String, ours: String, range: ClosedRange<Int>)] = [
            ("max_queue_depth", "queueDepth", 2...1024), ("max_io_qpairs_per_ctrlr", "maxIOQueues", 1...64),
            ("in_capsule_data_size", "inCapsuleDataSize", 0...(64 << 10)),
            ("max_io_size", "maxIOSize", 4096...(16 << 20)),
            ("max_srq_depth", "sharedReceiveEntries", 64...65536),
        ]
        for size in sizes {
            if let number = parameters[size.theirs]?.count {
                draft.set(size.ours, number, within: size.range, at: place)
            }
        }
        let others = parameters.entries.map(\.key).filter { key in
            key != "trtype" && !sizes.contains { $0.theirs == key }
        }
        if !others.isEmpty { draft.lose(place, "\(others.joined(separator: ", ")): settings of SPDK's own") }
    }

    private func subsystem(_ parameters: ConfigurationValue, _ draft: inout ImportDraft) -> ConfigurationValue {
        let name = parameters["nqn"]?.string ?? ""
        var value = ConfigurationValue.object([.init("nqn", .text(name))])
        value["serial"] = parameters["serial_number"]?.string.map { .text($0) }
        value["model"] = parameters["model_number"]?.string.map { .text($0) }
        if parameters["allow_any_host"]?.isTrue == true {
            value["allowAnyHost"] = .boolean(true)
        } else {
            value["hosts"] = .array([])
        }
        if let first = parameters["min_cntlid"]?.count, let last = parameters["max_cntlid"]?.count,
            (first, last) != (1, 65519)
        {
            value["controllerIDs"] = .object([.init("first", .number("\(first)")), .init("last", .number("\(last)"))])
        }
        draft.loseOthers(
            parameters,
            but: [
                "nqn", "serial_number", "model_number", "allow_any_host", "min_cntlid", "max_cntlid", "max_namespaces",
                "ana_reporting",
            ], at: "subsystem \(name)")
        value["namespaces"] = .array([])
        return value
    }

    private func setState(
        _ parameters: ConfigurationValue, at index: Int, _ place: String, _ draft: inout ImportDraft
    ) {
        let names = ["optimized": "", "non_optimized": "nonOptimized", "inaccessible": "inaccessible"]
        let location = parameters["listen_address"]
        let text = parameters["ana_state"]?.string ?? ""
        guard isRDMA(location), let state = names[text], let group = parameters["anagrpid"]?.count,
            (1...128).contains(group),
            let address = draft.listener(location?["traddr"], location?["trsvcid"], at: place)
        else {
            return draft.lose(
                place, "the ANA state \(text) of a listener has no equivalent without its group; left out")
        }
        guard !state.isEmpty else { return }
        let states = draft.subsystems[index].value["anaGroups"]?.elements ?? []
        let added = ConfigurationValue.object([
            .init("id", .number("\(group)")), .init("state", .text(state)),
            .init("listener", ConfigurationDocument.value(of: address)),
        ])
        draft.subsystems[index].value["anaGroups"] = .array(states + [added])
    }

    private func addNamespace(
        _ namespace: ConfigurationValue, at index: Int, _ place: String, _ draft: inout ImportDraft
    ) {
        let existing = draft.subsystems[index].value["namespaces"]?.elements ?? []
        let number = namespace["nsid"]?.count ?? (existing.compactMap { $0["nsid"]?.count }.max() ?? 0) + 1
        let name = namespace["bdev_name"]?.string ?? ""
        let here = "\(place): namespace \(number)"
        // Fewer hosts may see it than may connect.
        if namespace["no_auto_visible"]?.isTrue == true {
            return draft.lose(
                here, "it is for some hosts of the subsystem only; put it into a subsystem of its own; left out")
        }
        guard case .keys(let keys)? = devices[name] else {
            if case .none(let reason)? = devices[name] { return draft.lose(here, "\(reason); left out") }
            return draft.lose(here, "there is no device '\(name)'; left out")
        }
        var value = ConfigurationValue.object([.init("nsid", .number("\(number)"))] + keys)
        value["uuid"] = namespace["uuid"]?.identifier.map { .text($0) }
        value["nguid"] = namespace["nguid"]?.identifier.map { .text($0) }
        value["eui64"] = namespace["eui64"]?.identifier.map { .text($0) }
        if let group = namespace["anagrpid"]?.count, group > 1 { value["anaGroup"] = .number("\(group)") }
        if let path = value["backing"]?.string, path.hasPrefix("/dev/disk/by-path/pci-") {
            draft.lose(here, "\(name) is \(path) once the kernel has the drive again (SPDK: scripts/setup.sh reset)")
        }
        if namespace["ptpl_file"] != nil {
            draft.lose(here, "reservations persist in stateDirectory; those in ptpl_file are not taken over")
        }
        draft.loseOthers(
            namespace,
            but: ["nsid", "bdev_name", "uuid", "nguid", "eui64", "anagrpid", "ptpl_file", "no_auto_visible"],
            at: here)
        draft.subsystems[index].value["namespaces"] = .array(existing + [value])
    }

    /// A namespace that some hosts only may see was left out already.
    private func hide(_ parameters: ConfigurationValue, at index: Int, _ place: String, _ draft: inout ImportDraft) {
        draft.lose(
            "\(place): namespace \(parameters["nsid"]?.count ?? 0)",
            "it is for some hosts of the subsystem only; put it into a subsystem of its own; left out")
    }
}
