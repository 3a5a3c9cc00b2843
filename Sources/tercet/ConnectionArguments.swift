import ArgumentParser
import Base
import FabricInterface
import NVMeInitiator
import NVMeSpec
import Terminal

/// The source of this host's name.
let hostNQNHelp: ArgumentHelp = "NQN of this host (default: that of nvme-fabrics.conf, else /etc/nvme/hostnqn)."

/// The target's address, named as in nvme-cli.
struct AddressArguments: ParsableArguments {
    @Option(name: [.short, .customLong("transport")], help: "Transport; only rdma.")
    var transport = "rdma"

    @Option(name: [.customShort("a"), .customLong("traddr")], help: "Address of the target: IPv4 or IPv6.")
    var address: String

    @Option(name: [.customShort("s"), .customLong("trsvcid")], help: "Port of the target.")
    var port: UInt16 = 4420

    @Option(name: [.customShort("w"), .customLong("host-traddr")], help: "Local address to connect from.")
    var hostAddress: String?

    @Option(name: [.customShort("q"), .customLong("hostnqn")], help: hostNQNHelp)
    var hostNQN: String?

    @Option(
        name: [.customShort("I"), .customLong("hostid")], help: "Host identifier, a UUID (default: /etc/nvme/hostid).")
    var hostID: String?

    @Option(name: [.customShort("k"), .customLong("keep-alive-tmo")], help: "Keep-alive timeout in seconds.")
    var keepAlive: UInt32 = 5

    @Option(
        name: .customLong("connect-timeout"),
        help: "How long the target may take to answer when it is first connected to, in seconds.")
    var connectTimeoutSeconds: UInt32 = 30

    mutating func validate() throws {
        guard transport == "rdma" else { throw ValidationError("transport \"\(transport)\": only rdma is supported") }
        guard SocketAddress(host: address, port: port) != nil else {
            throw ValidationError("\"\(address)\" is not an IPv4 or IPv6 address")
        }
        if let hostAddress, SocketAddress(host: hostAddress, port: 0) == nil {
            throw ValidationError("\"\(hostAddress)\" is not an IPv4 or IPv6 address")
        }
        guard connectTimeoutSeconds > 0 else { throw ValidationError("--connect-timeout: at least 1 second") }
        hostNQN = try FabricsFile.hostNQN(given: hostNQN)
        if let hostID, UUIDBytes(hostID) == nil { throw ValidationError("\"\(hostID)\" is not a UUID") }
    }

    /// The options of a controller there.
    func options(_ subsystemNQN: String) throws -> ControllerOptions {
        guard let target = SocketAddress(host: address, port: port) else {
            throw ValidationError("\"\(address)\" is not an IPv4 or IPv6 address")
        }
        let identity = HostIdentity(nqn: hostNQN, id: hostID.flatMap { UUIDBytes($0) })
        var options = ControllerOptions(
            address: target, subsystemNQN: subsystemNQN, hostNQN: identity.nqn, hostID: identity.id)
        options.sourceAddress = hostAddress.flatMap { SocketAddress(host: $0, port: 0) }
        options.keepAliveMilliseconds = UInt32(clamping: UInt64(keepAlive) * 1000)
        options.connectTimeoutMilliseconds = UInt32(clamping: UInt64(connectTimeoutSeconds) * 1000)
        return options
    }
}

/// Which subsystem, and which namespace of it.
struct SubsystemArguments: ParsableArguments {
    @OptionGroup(title: "Connection") var address: AddressArguments

    @Option(name: [.customShort("n"), .customLong("nqn")], help: "NQN of the subsystem.")
    var nqn: String

    func validate() throws {
        try checkNQN(nqn, "NQN")
    }

    func options() throws -> ControllerOptions { try address.options(nqn) }
}

/// Refuses a name that cannot be sent, and remarks on one that has not the form of an NQN: such names are in use in the field
/// (`testnqn`), and the target knows which ones it has.
func checkNQN(_ name: String, _ what: String) throws {
    do throws(InvalidNQN) { try NQN.validate(name) } catch {
        guard error.isOfForm, !name.isEmpty else { throw ValidationError("\(what) \"\(name)\": \(error)") }
        writeToStandardError("\(what) \"\(name)\": \(error); it is taken as it is\n")
    }
}
