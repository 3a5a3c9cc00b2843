import Base
import BlockInterface
import NVMeSpec
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
            "reactors", "hostNQN", "controlSocket", "nbd", "nvme", "volumes", "devices",
        ])
        self.init()
        for entry in try values["volumes"]?.array() ?? [] { volumes.append(try Self.volume(entry)) }
        for entry in try values["devices"]?.array() ?? [] { devices.append(try Self.device(entry)) }
        if let value = values["reactors"] { reactors = try value.integer(in: 1...256) }
        if let value = values["hostNQN"] {
            let name = try value.string()
            do throws(InvalidNQN) { try NQN.validate(name) } catch { throw value.error("'\(name)': \(error)") }
            hostNQN = name
        }
        controlSocket = try values["controlSocket"]?.string()
        if let value = values["nbd"] {
            let settings = try value.object(keys: ["socket", "memory", "clientPatienceMilliseconds"])
            nbdSocket = try settings["socket"]?.string()
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
        try checkNames { "\(file): '\($0)'" }
    }

    private static func volume(_ entry: Element) throws(TercetError) -> VolumeEntry {
        let values = try entry.object(keys: ["name", "members", "takeOver"])
        guard let name = values["name"], let list = values["members"] else {
            throw entry.error("a name or the members are missing; allowed: { name, members: [ 3 of them ], takeOver }")
        }
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
        return VolumeEntry(
            name: try name.string(), members: members, takesOver: try values["takeOver"]?.boolean() ?? false)
    }

    private static func device(_ entry: Element) throws(TercetError) -> DeviceEntry {
        let values = try entry.object(keys: ["name", "path"])
        guard let name = values["name"], let path = values["path"] else {
            throw entry.error("a name or a path is missing; allowed: { name, path }")
        }
        let text = try path.string()
        let exportName = try name.string()
        do throws(TercetError) {
            return DeviceEntry(name: exportName, specification: try BlockSpecification(parsing: text))
        } catch {
            throw path.error(error.message)
        }
    }
}
