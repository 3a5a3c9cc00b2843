import Base
import BlockInterface
import NVMeAuthentication
import NVMeSpec
import TargetInterface
import Yams

/// The keys of the file, in the order in which new values are written.
enum ConfigurationKeys {
    /// Those that hold one value each.
    static let settings = [
        "reactors", "queueDepth", "maxIOQueues", "inCapsuleDataSize", "maxIOSize", "sharedReceiveEntries", "dataMemory",
        "sendWithInvalidate", "keepAlive", "stateDirectory", "requireAll", "logLevel",
    ]
    static let all = settings + ["listeners", "discovery", "subsystems"]
    static let subsystem = [
        "nqn", "serial", "model", "allowAnyHost", "hosts", "authentication", "maxIOQueues", "anaGroups",
        "controllerIDs", "namespaces",
        "pool",
    ]
    static let pool = ["folder", "capacity", "maxNamespaces", "blockSize", "managers"]
    static let namespace = [
        "nsid", "backing", "blockSize", "readOnly", "uuid", "nguid", "eui64", "identifiers", "anaGroup",
    ]
}

/// The schema of the file: which keys there are, their types and their ranges.
extension Element {
    func configuration() throws(TercetError) -> Configuration {
        let values = try object(keys: ConfigurationKeys.all)
        let listeners = try require("listeners", in: values, as: "[ { address, port } ]").addresses()
        let subsystems = try require("subsystems", in: values, as: "[ { nqn, hosts, namespaces } ]").array()
        var configuration = Configuration(TargetDefinition(listeners: listeners))
        for element in subsystems { configuration.definition.subsystems.append(try element.subsystem()) }
        if let value = values["reactors"] { configuration.reactors = try value.reactors() }
        if let value = values["queueDepth"] {
            configuration.definition.options.queueDepth = try value.integer(in: 2...1024)
        }
        if let value = values["maxIOQueues"] {
            configuration.definition.options.maxIOQueues = try value.integer(in: 1...64)
        }
        if let value = values["inCapsuleDataSize"] {
            configuration.definition.options.inCapsuleDataSize = try value.byteCount(in: 0...(64 << 10))
        }
        if let value = values["maxIOSize"] {
            configuration.definition.options.maxTransferSize = try value.byteCount(in: 4096...(16 << 20))
        }
        if let value = values["sharedReceiveEntries"] {
            configuration.definition.options.sharedReceiveEntries = try value.integer(in: 64...65536)
        }
        if let value = values["dataMemory"] {
            configuration.definition.options.dataMemory = try value.byteCount(in: (4 << 20)...(64 << 30))
        }
        if let value = values["sendWithInvalidate"] {
            configuration.definition.options.sendWithInvalidate = try value.boolean()
        }
        if let value = values["stateDirectory"] { configuration.stateDirectory = try value.string() }
        if let value = values["requireAll"] { configuration.requiresAll = try value.boolean() }
        if let value = values["logLevel"] { configuration.logLevel = try value.choice(LogLevel.self) }
        if let value = values["keepAlive"] {
            let limits = try value.object(keys: ["maxMilliseconds"])
            if let limit = limits["maxMilliseconds"] {
                configuration.definition.options.maxKeepAliveMilliseconds = UInt32(
                    try limit.integer(in: 1000...86_400_000))
            }
        }
        if let value = values["discovery"] {
            let settings = try value.object(keys: ["referrals"])
            if let referrals = settings["referrals"] { configuration.definition.referrals = try referrals.addresses() }
        }
        return configuration
    }

    private func reactors() throws(TercetError) -> ReactorChoice {
        guard node.sequence != nil else { return .count(try integer(in: 1...256)) }
        var processors: [Int] = []
        for element in try array() {
            let processor = try element.integer(in: 0...1023)
            if processors.contains(processor) {
                throw element.error("processor \(processor) is there twice; allowed: each once")
            }
            processors.append(processor)
        }
        if processors.isEmpty { throw error("no processor; allowed: a number of reactors, or an array of processors") }
        return .processors(processors)
    }

    private func addresses() throws(TercetError) -> [SocketAddress] {
        var addresses: [SocketAddress] = []
        for element in try array() {
            addresses.append(try element.address())
        }
        return addresses
    }

    private func address() throws(TercetError) -> SocketAddress {
        let values = try object(keys: ["address", "port"])
        let host = try require("address", in: values, as: "an IPv4 or IPv6 address")
        let port = try values["port"]?.integer(in: 1...65535) ?? Int(Configuration.defaultPort)
        guard let address = SocketAddress(host: try host.string(), port: UInt16(port)) else {
            throw host.error("'\(try host.string())' is no address; allowed: an IPv4 or IPv6 address in numbers")
        }
        return address
    }

    private func controllerIDs() throws(TercetError) -> ClosedRange<UInt16> {
        let all = SubsystemDefinition.allControllerIDs
        let limits = Int(all.lowerBound)...Int(all.upperBound)
        let form = "\(all.lowerBound) to \(all.upperBound)"
        let values = try object(keys: ["first", "last"])
        let first = try require("first", in: values, as: form).integer(in: limits)
        let last = try require("last", in: values, as: form).integer(in: limits)
        guard first <= last else { throw error("\(first) to \(last) is empty; allowed: first is not above last") }
        return UInt16(first)...UInt16(last)
    }

    private func subsystem() throws(TercetError) -> SubsystemDefinition {
        let values = try object(keys: ConfigurationKeys.subsystem)
        let nqn = try require("nqn", in: values, as: "\"nqn.YYYY-MM.REVERSE.DOMAIN:NAME\"").string()
        let (access, keys) = try access(values)
        var subsystem = SubsystemDefinition(
            nqn: nqn, serialNumber: try values["serial"]?.string(),
            modelNumber: try values["model"]?.string() ?? "Tercet", access: access)
        // Said or not: beside a host with a key, one without would be let in by its name alone.
        subsystem.authentication =
            try values["authentication"]?.authentication(keys)
            ?? AuthenticationDefinition(keys: keys, isRequired: !keys.isEmpty)
        subsystem.maxIOQueues = try values["maxIOQueues"]?.integer(in: 1...64)
        if let groups = values["anaGroups"] { subsystem.anaStates = try groups.anaStates() }
        if let range = values["controllerIDs"] { subsystem.controllerIDs = try range.controllerIDs() }
        for element in try values["namespaces"]?.array() ?? [] { subsystem.namespaces.append(try element.namespace()) }
        if let pool = values["pool"] { subsystem.pool = try pool.pool() }
        return subsystem
    }

    private func pool() throws(TercetError) -> PoolDefinition {
        let values = try object(keys: ConfigurationKeys.pool)
        let folder = try require("folder", in: values, as: "the path of a folder")
        guard try folder.string().hasPrefix("/") else {
            throw folder.error("'\(try folder.string())' is no path from the root; allowed: \"/...\"")
        }
        let capacity = try require("capacity", in: values, as: "bytes of all namespaces, such as \"1T\"")
        var pool = PoolDefinition(
            folder: try folder.string(), capacity: UInt64(try capacity.byteCount(in: (1 << 20)...(1 << 56))))
        if let count = values["maxNamespaces"] { pool.maxNamespaces = try count.integer(in: 1...8192) }
        if let size = values["blockSize"] { pool.blockSize = try size.blockSize() }
        if let managers = values["managers"] { pool.managers = try managers.hosts().names }
        return pool
    }

    private func access(
        _ values: [String: Element]
    ) throws(TercetError) -> (HostAccess, [String: AuthenticationKeys]) {
        let allowsAny = try values["allowAnyHost"]?.boolean() ?? false
        guard let list = values["hosts"] else {
            if allowsAny { return (.anyHost, [:]) }
            throw error("nobody may connect; allowed: \"hosts\": [ host NQNs ], or \"allowAnyHost\": true")
        }
        if allowsAny { throw list.error("hosts are listed although any host is allowed; allowed: one of the two") }
        let (names, keys) = try list.hosts()
        return (.hosts(names), keys)
    }

    private func anaStates() throws(TercetError) -> [ANAGroupPlace: ANAState] {
        var states: [ANAGroupPlace: ANAState] = [:]
        for element in try array() {
            let values = try element.object(keys: ["id", "state", "listener"])
            let id = try element.require("id", in: values, as: "1 to 128")
            let group = UInt32(try id.integer(in: 1...128))
            let state = try element.require("state", in: values, as: "optimized, nonOptimized, inaccessible, ...")
            let place = ANAGroupPlace(group: group, listener: try values["listener"]?.address())
            if states.updateValue(try state.choice(ANAState.allCases.map { ("\($0)", $0) }), forKey: place) != nil {
                throw id.error("group \(group) is there twice; allowed: each group once for each listener")
            }
        }
        return states
    }

    private func namespace() throws(TercetError) -> NamespaceDefinition {
        let values = try object(keys: ConfigurationKeys.namespace)
        let nsid = try require("nsid", in: values, as: "1 to 65536").integer(in: 1...TargetOptions().maxNamespaces)
        let backing = try require("backing", in: values, as: "a path, ram:SIZE or null:SIZE")
        let text = try backing.string()
        var specification: BlockSpecification
        do throws(TercetError) {
            specification = try BlockSpecification(parsing: text)
        } catch {
            throw backing.error(error.description)
        }
        if let size = values["blockSize"] { specification.blockSize = try size.blockSize() }
        if let readOnly = values["readOnly"] {
            specification.readOnly = try readOnly.boolean()
            guard case .path = specification.backing else {
                throw readOnly.error("only a path can be read-only; allowed: to leave it out for ram: and null:")
            }
        }
        var namespace = NamespaceDefinition(nsid: UInt32(nsid), backing: .specified(specification))
        namespace.identity.uuid = try values["uuid"]?.uuid()
        namespace.identity.nguid = try values["nguid"]?.hexadecimal(byteCount: 16)
        namespace.identity.eui64 = try values["eui64"]?.hexadecimal(byteCount: 8)
        if let source = values["identifiers"] { namespace.identifiers = try source.choice(IdentifierSource.self) }
        if let group = values["anaGroup"] { namespace.anaGroup = UInt32(try group.integer(in: 1...128)) }
        return namespace
    }

    private func blockSize() throws(TercetError) -> UInt32 {
        let size = try byteCount(in: 512...65536)
        guard let blockSize = UInt32(exactly: size), BlockGeometry.isBlockSize(blockSize) else {
            throw error("\(size) is no block size; allowed: a power of two from 512 to 65536")
        }
        return blockSize
    }

    private func uuid() throws(TercetError) -> [UInt8] {
        guard let uuid = UUIDBytes(try string()), !uuid.isZero else {
            throw error(
                "'\(try string())' is no UUID; allowed: \"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx\", not all zeroes")
        }
        return uuid.bytes
    }

    private func hexadecimal(byteCount: Int) throws(TercetError) -> [UInt8] {
        let text = try string().filter { $0 != "-" }
        let digits = text.compactMap { $0.isASCII ? $0.hexDigitValue : nil }
        guard text.count == 2 * byteCount, digits.count == text.count, digits.contains(where: { $0 != 0 }) else {
            throw error(
                "'\(try string())' is no identifier; allowed: \(2 * byteCount) hexadecimal digits, not all zeroes")
        }
        // With its types said: the compiler takes 1.6 s to find them.
        return (0..<byteCount).map { (index: Int) -> UInt8 in
            let (high, low): (Int, Int) = (digits[2 * index], digits[2 * index + 1])
            return UInt8(high * 16 + low)
        }
    }

    /// A value that must be there.
    func require(
        _ key: String, in values: [String: Element], as form: String
    ) throws(TercetError) -> Element {
        if let value = values[key] { return value }
        throw Self.error(file, node.mark, path.isEmpty ? key : "\(path).\(key)", "is missing; allowed: \(form)")
    }
}
