import Base
import BlockInterface
import NVMeAuthentication
import NVMeSpec
import Succession
import TargetConfiguration
import VolumeDriver

/// The schema of the file: which keys there are, their types and their ranges.
extension VolumedConfiguration {
    /// Reads a file in JSON.
    public init(contentsOf path: String) throws(TercetError) {
        try self.init(parsing: try Element.text(of: path), file: path)
    }

    /// Reads a configuration's text.
    ///
    /// - Parameter file: the name that errors carry.
    public init(parsing text: String, file: String) throws(TercetError) {
        let root = try Element.root(of: text, file: file, needs: "volumes or devices are needed")
        let values = try root.object(keys: [
            "reactors", "laterVolumes", "hostNQN", "keyFile", "controllerKeyFile", "controlSocket", "nbd", "nvme",
            "kernelNBD",
            "registry", "volumes", "devices",
            "succession",
        ])
        self.init()
        registry = try values["registry"]?.string()
        for entry in try values["volumes"]?.array() ?? [] {
            volumes.append(try Self.volume(entry, hasRegistry: registry != nil))
        }
        for entry in try values["devices"]?.array() ?? [] { devices.append(try Self.device(entry)) }
        if let value = values["reactors"] { reactors = try value.integer(in: 1...256) }
        if let value = values["laterVolumes"] { laterVolumes = try value.integer(in: 0...1000) }
        if let value = values["hostNQN"] {
            let name = try value.string()
            do throws(InvalidNQN) { try NQN.validate(name) } catch { throw value.error("'\(name)': \(error)") }
            hostNQN = name
        }
        let controllerKeyFile = try values["controllerKeyFile"]?.string()
        if let path = try values["keyFile"]?.string() {
            keys = .files(host: path, controller: controllerKeyFile)
        } else if let value = values["controllerKeyFile"] {
            throw value.error("a controller's key without one of this host; allowed: both, or \"keyFile\" alone")
        }
        controlSocket = try values["controlSocket"]?.string()
        if let value = values["nbd"] {
            let settings = try value.object(keys: [
                "socket", "tcp", "keys", "insecure", "memory", "clientPatienceMilliseconds",
            ])
            nbdSocket = try settings["socket"]?.string()
            for entry in try settings["tcp"]?.array() ?? [] {
                let text = try entry.string()
                guard let address = SocketAddress(text, defaultPort: Self.nbdPort) else {
                    throw entry.error("'\(text)' is no address; allowed: ADDRESS or ADDRESS:PORT")
                }
                nbdAddresses.append(address)
            }
            nbdKeyFile = try settings["keys"]?.string()
            isNBDInsecure = try settings["insecure"]?.boolean() ?? false
            do throws(TercetError) {
                try checkNBDKeys(keys: "\"keys\": FILE", insecure: "\"insecure\": true")
            } catch {
                throw value.error(error.description)
            }
            if let memory = settings["memory"] { nbdMemory = try memory.byteCount(in: (8 << 20)...(16 << 30)) }
            if let patience = settings["clientPatienceMilliseconds"] {
                clientPatienceMilliseconds = UInt64(try patience.integer(in: 100...3_600_000))
            }
        }
        if let value = values["nvme"] {
            let settings = try value.object(keys: ["listen"])
            if let listen = settings["listen"] {
                let text = try listen.string()
                guard let address = SocketAddress(text, defaultPort: 4420) else {
                    throw listen.error("'\(text)' is no address; allowed: ADDRESS or ADDRESS:PORT")
                }
                nvmeAddress = address
            }
        }
        if let value = values["succession"] { succession = try Self.succession(value) }
        if let value = values["kernelNBD"] { kernel = try Self.kernel(value) }
        try checkNames { "\(file): '\($0)'" }
        try checkBlockDevices { "\(file): '\($0)'" }
    }

    private static func volume(_ entry: Element, hasRegistry: Bool) throws(TercetError) -> VolumeEntry {
        let values = try entry.object(keys: ["name", "members", "takeOver", "exports", "limits"])
        guard let name = values["name"], hasRegistry || values["members"] != nil else {
            throw entry.error(
                "a name or the members are missing; allowed: { name, members: [ 3 of them ], takeOver, exports, limits }, "
                    + "without members where there is a registry")
        }
        return VolumeEntry(
            name: try name.string(),
            members: try values["members"].map { list throws(TercetError) in try members(list) } ?? [],
            takesOver: try values["takeOver"]?.boolean() ?? false,
            exports: try exports(values["exports"]), limits: try limits(values["limits"]))
    }

    private static func members(_ list: Element) throws(TercetError) -> [MemberAddress] {
        var members: [MemberAddress] = []
        for element in try list.array() {
            let text = try element.string()
            do throws(TercetError) {
                members.append(try member(text) { $0 })
            } catch {
                throw element.error(error.description)
            }
        }
        guard members.count == 3 else { throw list.error("\(members.count) members; allowed: 3") }
        return members
    }

    private static func limits(_ value: Element?) throws(TercetError) -> VolumeLimits {
        var limits = VolumeLimits()
        guard let settings = try value?.object(keys: ["iosPerSecond", "bytesPerSecond", "weight"]) else {
            return limits
        }
        let greatest = Int(VolumeLimits.greatest)
        if let ios = settings["iosPerSecond"] { limits.iosPerSecond = UInt64(try ios.integer(in: 0...greatest)) }
        if let bytes = settings["bytesPerSecond"] {
            limits.bytesPerSecond = UInt64(try bytes.byteCount(in: 0...greatest))
        }
        if let weight = settings["weight"] {
            limits.weight = UInt32(
                try weight.integer(in: Int(VolumeLimits.weights.lowerBound)...Int(VolumeLimits.weights.upperBound)))
        }
        return limits
    }

    private static func exports(_ list: Element?) throws(TercetError) -> Set<ExportKind> {
        guard let list else { return [.nbd] }
        var kinds: Set<ExportKind> = []
        for element in try list.array() {
            let text = try element.string()
            guard let kind = ExportKind(rawValue: text) else {
                let allowed = ExportKind.allCases.map(\.rawValue).joined(separator: ", ")
                throw element.error("'\(text)' is no kind of export; allowed: \(allowed)")
            }
            kinds.insert(kind)
        }
        return kinds
    }

    private static func succession(_ value: Element) throws(TercetError) -> SuccessionSettings {
        let keys = ["name", "place", "leaseSeconds", "prefers", "failBack", "staySeconds"]
        let settings = try value.object(keys: keys)
        guard let name = settings["name"], let place = settings["place"] else {
            throw value.error("a name or a place is missing; allowed: { \(keys.joined(separator: ", ")) }")
        }
        var seconds = SuccessionSettings.usualLeaseSeconds
        if let lease = settings["leaseSeconds"] { seconds = Int64(try lease.integer(in: SuccessionSettings.leases)) }
        let number = try place.integer(in: SuccessionSettings.places)
        var made: SuccessionSettings
        do throws(TercetError) {
            made = try SuccessionSettings(name: try name.string(), place: number, leaseSeconds: seconds)
        } catch {
            throw name.error(error.description)
        }
        for volume in try settings["prefers"]?.array() ?? [] { made.prefers.insert(try volume.string()) }
        if let failBack = settings["failBack"] {
            guard let policy = FailBack(rawValue: try failBack.string()) else {
                throw failBack.error("'\(try failBack.string())'; allowed: never, quiet, always")
            }
            made.failBack = policy
        }
        if let stay = settings["staySeconds"] { made.staySeconds = try stay.integer(in: SuccessionSettings.stays) }
        return made
    }

    private static func kernel(_ value: Element) throws(TercetError) -> KernelSettings {
        var kernel = KernelSettings()
        let settings = try value.object(keys: ["folder", "requestTimeoutSeconds", "deadConnectionTimeoutSeconds"])
        if let folder = settings["folder"] {
            kernel.folder = try folder.string()
            guard kernel.folder.hasPrefix("/") else { throw folder.error("'\(kernel.folder)' is no absolute path") }
        }
        if let timeout = settings["requestTimeoutSeconds"] {
            kernel.requestTimeoutSeconds = UInt64(try timeout.integer(in: 1...3600))
        }
        if let timeout = settings["deadConnectionTimeoutSeconds"] {
            kernel.deadConnectionTimeoutSeconds = UInt64(try timeout.integer(in: 1...86_400))
        }
        return kernel
    }

    private static func device(_ entry: Element) throws(TercetError) -> DeviceEntry {
        let values = try entry.object(keys: ["name", "path", "exports"])
        guard let name = values["name"], let path = values["path"] else {
            throw entry.error("a name or a path is missing; allowed: { name, path, exports }")
        }
        let text = try path.string()
        let exportName = try name.string()
        let specification: BlockSpecification
        do throws(TercetError) {
            specification = try BlockSpecification(parsing: text)
        } catch {
            throw path.error(error.message)
        }
        return DeviceEntry(
            name: exportName, specification: specification, exports: try exports(values["exports"]))
    }
}
