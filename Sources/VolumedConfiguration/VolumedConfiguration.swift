import Base
import BlockInterface
import FabricsConfiguration
import NVMeAuthentication
import NVMeSpec
import TargetConfiguration
import VolumeDriver

/// The desired state of a volume daemon: what it attaches, and as what it is offered.
public struct VolumedConfiguration: Equatable, Sendable {
    /// As what a volume or device is offered.
    public enum ExportKind: String, CaseIterable, Equatable, Sendable {
        /// An export for NBD clients at the daemon's sockets.
        case nbd
        /// A block device of this machine, of the kernel's NBD client.
        case kernelNBD = "kernel-nbd"
        /// A block device of this machine, of the kernel's ublk driver.
        case ublk

        /// It is a device under a path of this machine.
        public var isBlockDevice: Bool { self != .nbd }
    }

    /// How block devices of the kernel's NBD client are to be.
    public struct KernelSettings: Equatable, Sendable {
        /// The folder in which each has a link under its export's name.
        public var folder = "/dev/tercet"
        /// A request that is not answered for so long is sent again over another connection.
        public var requestTimeoutSeconds: UInt64 = 10
        /// I/O waits so long for a daemon that has died; then it fails.
        public var deadConnectionTimeoutSeconds: UInt64 = 300

        public init() {}
    }

    /// A volume to attach.
    public struct VolumeEntry: Equatable, Sendable {
        /// The name of its export.
        public var name: String
        /// Three, in order; none as long as the registry has not told them.
        public var members: [MemberAddress]
        /// A host that has it attached is fenced.
        public var takesOver = false
        public var exports: Set<ExportKind> = [.nbd]
        public var limits = VolumeLimits()
        /// A registry's word on it; `nil` if it comes from none.
        public var expected: ExpectedVolume?

        public init(
            name: String, members: [MemberAddress], takesOver: Bool = false, exports: Set<ExportKind> = [.nbd],
            limits: VolumeLimits = VolumeLimits()
        ) {
            self.name = name
            self.members = members
            self.takesOver = takesOver
            self.exports = exports
            self.limits = limits
        }

        /// - Parameter memberTexts: as `ADDRESS:PORT/SUBNQN/NSID`, or `SUBNQN/NSID` where nvme-fabrics.conf knows the subsystem.
        public init(name: String, memberTexts: [String], takesOver: Bool) throws(TercetError) {
            var members: [MemberAddress] = []
            for text in memberTexts { members.append(try VolumedConfiguration.member(text) { $0 }) }
            guard members.count == 3 else {
                throw TercetError(.invalid, "\(members.count) members are given; a volume has three")
            }
            self.init(name: name, members: members, takesOver: takesOver)
        }
    }

    /// A device of this machine to serve as it is.
    public struct DeviceEntry: Equatable, Sendable {
        /// The name of its export.
        public var name: String
        public var specification: BlockSpecification
        public var exports: Set<ExportKind> = [.nbd]

        public init(name: String, specification: BlockSpecification, exports: Set<ExportKind> = [.nbd]) {
            self.name = name
            self.specification = specification
            self.exports = exports
        }
    }

    public var volumes: [VolumeEntry] = []
    public var devices: [DeviceEntry] = []
    /// The registry that tells the members of volumes that have none here; `nil` for none.
    public var registry: String?
    /// Threads that serve, each on a processor of its own.
    public var reactors = 1
    /// Volumes for which a reactor has room beside its share of `volumes`: those that are attached by control.
    public var laterVolumes = 16
    /// The NQN of this host towards the members; `nil` for that of nvme-fabrics.conf, else the machine's.
    public var hostNQN: String?
    /// The keys with which it connects to members; `nil` for none but those of the environment.
    public var keys: KeySource?
    /// The address at which volumes are offered to NVMe-oF hosts; `nil` for none.
    public var nvmeAddress: SocketAddress?
    /// The path of the Unix socket for control, or `none`; `nil` for the usual one.
    public var controlSocket: String?
    /// The path of the Unix socket for NBD clients; `nil` for none but those of a service manager.
    public var nbdSocket: String?
    /// The addresses at which NBD clients are served over TCP.
    public var nbdAddresses: [SocketAddress] = []
    /// The path of the keys that clients over TCP need, in the form of GnuTLS's psktool; `nil` for none.
    public var nbdKeyFile: String?
    /// Clients over TCP are served without TLS: whoever reaches the address may read and write everything.
    public var isNBDInsecure = false
    /// Memory of each reactor for data of NBD clients on its way, in bytes.
    public var nbdMemory = 64 << 20
    /// An NBD client that keeps the daemon waiting loses its connection after so long.
    public var clientPatienceMilliseconds: UInt64 = 30_000
    public var kernel = KernelSettings()
    /// How the volumes are shared with other daemons; `nil` if they are this daemon's alone.
    public var succession: SuccessionSettings?

    /// Something is to be a block device of this machine.
    public var usesKernelNBD: Bool { has(.kernelNBD) }
    public var usesUblk: Bool { has(.ublk) }

    private func has(_ kind: ExportKind) -> Bool {
        volumes.contains { $0.exports.contains(kind) } || devices.contains { $0.exports.contains(kind) }
    }

    /// There is one path of a name, and so one block device.
    func checkBlockDevices(_ place: (String) -> String) throws(TercetError) {
        let entries = volumes.map { ($0.name, $0.exports) } + devices.map { ($0.name, $0.exports) }
        for (name, exports) in entries where exports.filter(\.isBlockDevice).count > 1 {
            throw TercetError(
                .invalid,
                "\(place(name)): kernel-nbd and ublk would make two block devices of one name; allowed: one of them")
        }
    }

    public init() {}

    /// Reads the options of a command line.
    ///
    /// - Parameters:
    ///   - volumes: `NAME=MEMBER,MEMBER,MEMBER` each, or a `NAME` alone.
    ///   - registered: the volumes that are given by a name alone, by that.
    ///   - devices: `NAME=PATH` each, or `PATH` alone for an export without a name.
    public init(
        volumes: [String], registered: [String: VolumeEntry] = [:], devices: [String]
    ) throws(TercetError) {
        self.init()
        for text in volumes {
            if let volume = registered[text] {
                self.volumes.append(volume)
            } else {
                self.volumes.append(try Self.volume(text))
            }
        }
        for text in devices { self.devices.append(try Self.device(text)) }
        if self.volumes.isEmpty && self.devices.isEmpty {
            throw TercetError(.invalid, "nothing to serve: --volume, --device or --config is needed")
        }
        try checkNames { "'\($0)'" }
    }

    private static func volume(_ text: String) throws(TercetError) -> VolumeEntry {
        guard let split = text.firstIndex(of: "="), split > text.startIndex else {
            throw TercetError(.invalid, "--volume \(text): no name; allowed: NAME=MEMBER,MEMBER,MEMBER")
        }
        var members: [MemberAddress] = []
        for part in text[text.index(after: split)...].split(separator: ",", omittingEmptySubsequences: false) {
            members.append(try member(String(part)) { "--volume \(text): \($0)" })
        }
        guard members.count == 3 else {
            throw TercetError(.invalid, "--volume \(text): \(members.count) members; a volume has three")
        }
        return VolumeEntry(name: String(text[..<split]), members: members)
    }

    /// Takes the name of this host from nvme-fabrics.conf where none is given.
    public mutating func completeHostNQN() throws(TercetError) {
        if hostNQN == nil { hostNQN = try FabricsConfiguration.ofThisHost().hostNQN }
        guard let hostNQN else { return }
        do throws(InvalidNQN) { try NQN.validate(hostNQN) } catch {
            // Names without the form of an NQN are in use in the field.
            guard !error.isOfForm || hostNQN.isEmpty else { return }
            throw TercetError(.invalid, "the NQN of this host, '\(hostNQN)': \(error)")
        }
    }

    /// - Parameter place: puts what is wrong behind where it is.
    static func member(
        _ text: String, _ place: (String) -> String
    ) throws(TercetError) -> MemberAddress {
        do throws(TercetError) {
            return try MemberAddress(text) { nqn throws(TercetError) in
                try FabricsConfiguration.ofThisHost().address(of: nqn)
            }
        } catch {
            throw TercetError(error.code, place(error.message))
        }
    }

    private static func device(_ text: String) throws(TercetError) -> DeviceEntry {
        // A path may have an equals sign, and an option of a device has one: a name has neither slashes, colons nor commas.
        var (name, path) = ("", text)
        if let split = text.firstIndex(of: "="), !text[..<split].contains(where: { "/:,".contains($0) }) {
            name = String(text[..<split])
            path = String(text[text.index(after: split)...])
        }
        do throws(TercetError) {
            return DeviceEntry(name: name, specification: try BlockSpecification(parsing: path))
        } catch {
            throw TercetError(.invalid, "--device \(error)")
        }
    }

    /// The port that is registered for NBD.
    static let nbdPort: UInt16 = 10809

    /// Takes a place for NBD clients: `tcp://ADDRESS:PORT`, or the path of a Unix socket, of which there is one.
    public mutating func serveNBD(at place: String) throws(TercetError) {
        guard place.hasPrefix("tcp://") else {
            if let nbdSocket {
                throw TercetError(.invalid, "--nbd \(place): \(nbdSocket) is given already; allowed: one Unix socket")
            }
            nbdSocket = place
            return
        }
        guard let address = SocketAddress(String(place.dropFirst(6)), defaultPort: Self.nbdPort) else {
            throw TercetError(.invalid, "--nbd \(place): is no address; allowed: tcp://ADDRESS or tcp://ADDRESS:PORT")
        }
        nbdAddresses.append(address)
    }

    /// Over TCP there are keys, or it is said that there are none.
    ///
    /// - Parameters:
    ///   - keys: as what the key file is given, for the error's text.
    ///   - insecure: the same of the word that there is to be none.
    public func checkNBDKeys(keys: String, insecure: String) throws(TercetError) {
        if nbdKeyFile != nil, isNBDInsecure {
            throw TercetError(.invalid, "\(keys) and \(insecure) contradict each other; allowed: one of them")
        }
        guard let address = nbdAddresses.first, nbdKeyFile == nil, !isNBDInsecure else { return }
        throw TercetError(
            .invalid,
            "tcp://\(address): clients over TCP need keys: \(keys), as psktool makes them; or \(insecure), where everybody who "
                + "reaches the address may read and write all that is served")
    }

    /// Each export has a name of its own.
    func checkNames(_ place: (String) -> String) throws(TercetError) {
        var names: Set<String> = []
        for name in volumes.map(\.name) + devices.map(\.name) {
            guard names.insert(name).inserted else {
                throw TercetError(.invalid, "\(place(name)): there are two of this name; allowed: one of each")
            }
            guard name.utf8.count <= 256 else {
                throw TercetError(.invalid, "\(place(name)): the name is too long; allowed: 256 bytes")
            }
        }
    }
}
