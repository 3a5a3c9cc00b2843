import ArgumentParser
import ControllerCalls
import Foundation
import Glibc
import NodeAgent
import Terminal

/// The calls of an orchestrator, by gRPC. gRPC is another program's: one that is built and installed only where it is wanted.
struct ServeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Serve the calls of a container orchestrator (CSI, gRPC) at a Unix socket.",
        discussion: """
            The services are Identity and Node of CSI 1.12, and grpc.health.v1. A volume_id is a volume's name; the key "members" of a \
            volume's context is three times ADDRESS:PORT/SUBNQN/NSID (SUBNQN/NSID where the nvme-fabrics.conf of tercet-volumed's \
            machine knows the subsystem), with commas between, where tercet-volumed does not have the volume; "takeOver", true or \
            false, says whether a stage fences a host that has it attached. A controller tells both when it publishes a volume. A \
            call goes on when its caller has gone; made again meanwhile, it is ABORTED. SIGTERM ends the program when the calls that \
            run have ended.

            With --controller the services are Identity and Controller, and with --with-node Node, too: volumes are made in the pools of a registry (tercet pool), by \
            tercet. One controller at a time serves a registry. Parameters of a class: "spread", required (three failure domains, the \
            default) or preferred; "pools", names with commas between; "minimumCopies"; "regionSize"; and those that may be changed \
            later, "iosPerSecond", "bytesPerSecond" and "weight". A node enters itself in the registry, if it has one: a volume is \
            published to no node that is not there. "topology.csi.tercet/domain" is the key of topologies: requisite ones say in which \
            failure domains members may lie, preferred ones which come first.
            """)

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The socket, unix:///PATH (default: CSI_ENDPOINT of the environment).", valueName: "ENDPOINT"))
    var endpoint: String?

    @Flag(name: .long, help: "Serve a controller's calls instead of a node's.")
    var controller = false

    @Flag(name: .long, help: "Serve a node's calls, too, at the controller's socket: for a host that is both.")
    var withNode = false

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The controller's registry, as tercet takes it, in which a node enters itself (default: TERCET_REGISTRY).",
            valueName: "PLACE"))
    var registry: String?

    @Flag(
        name: .long,
        help:
            "Have orchestrators give the failure domains of a volume's members, as a controller: each node needs a --domain then."
    )
    var topology = false

    @Option(
        name: .long, help: ArgumentHelp("The node's failure domain, as those of pools.", valueName: "DOMAIN"))
    var domain: String?

    @Option(
        name: .customLong("hostnqn"),
        help: ArgumentHelp("The name by which pools know the controller (default: the host's).", valueName: "NQN"))
    var hostNQN: String?

    @Option(
        name: .long, help: ArgumentHelp("The program tercet (default: the one beside tercet-node).", valueName: "PATH"))
    var tercet: String?

    @Option(name: .long, help: ArgumentHelp("The node's name (default: the host's).", valueName: "NAME"))
    var node: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Volumes that this host may have, at most; 0: as many as tercet-volumed has room for.", valueName: "COUNT"))
    var maxVolumes: Int64 = 0

    @Option(name: .long, help: "Form of the log on standard error, text or json.")
    var logFormat: LogFormat = .text

    @Option(name: .long, help: "Least level that is logged.")
    var logLevel = "info"

    @Option(
        name: .long,
        help: ArgumentHelp("The program tercet-csi (default: the one beside tercet-node).", valueName: "PATH"))
    var program: String?

    @Flag(name: .long, help: "Say what would be served, and with what, and serve nothing.")
    var dryRun = false

    @OptionGroup var agent: AgentArguments

    func run() throws {
        do throws(NodeError) {
            guard let endpoint = endpoint ?? ProcessInfo.processInfo.environment["CSI_ENDPOINT"] else {
                throw NodeError(.invalidArgument, "no endpoint: give --endpoint unix:///PATH, or CSI_ENDPOINT")
            }
            let settings = try DriverSettings(
                agent: agent.settings, controller: try controllerSettings(), servesNode: !controller || withNode,
                nodeRegistry: nodeRegistry, hasTopology: topology, domain: domain, endpoint: endpoint, node: node,
                maximumVolumes: maxVolumes,
                logsJSON: logFormat == .json, logLevel: logLevel)
            if dryRun {
                for step in try steps(settings) { print("would \(step)") }
            } else {
                try become(settings)
            }
        } catch {
            writeToStandardError("tercet-node: \(error.code.name): \(error.message)\n")
            throw ReportedFailure(code: error.code)
        }
    }

    private func controllerSettings() throws(NodeError) -> ControllerSettings? {
        guard controller else {
            guard hostNQN == nil, !withNode, !topology else {
                throw NodeError(
                    .invalidArgument, "--hostnqn, --topology and --with-node are a controller's: give --controller")
            }
            return nil
        }
        guard domain == nil || withNode else {
            throw NodeError(.invalidArgument, "--domain is a node's: leave it out, or give --with-node")
        }
        guard let place else {
            throw NodeError(
                .invalidArgument,
                "a controller needs a registry: give --registry sqlite:PATH or etcd://HOST:PORT, or TERCET_REGISTRY")
        }
        return ControllerSettings(program: tercet ?? Self.neighbour("tercet"), registry: place, hostNQN: hostNQN)
    }

    /// The registry that is given, or the environment's.
    private var place: String? {
        (registry ?? ProcessInfo.processInfo.environment["TERCET_REGISTRY"]).flatMap { $0.isEmpty ? nil : $0 }
    }

    private var nodeRegistry: ControllerSettings? {
        guard !controller || withNode else { return nil }
        return place.map {
            ControllerSettings(program: tercet ?? Self.neighbour("tercet"), registry: $0, hostNQN: hostNQN)
        }
    }

    /// The steps of serving, in order. Throws where a program that it needs is not there.
    private func steps(_ settings: DriverSettings) throws(NodeError) -> [String] {
        let programs = [
            program ?? Self.neighbour("tercet-csi"), settings.controller?.program, settings.nodeRegistry?.program,
        ]
        for path in programs.compactMap({ $0 }) where access(path, X_OK) != 0 {
            throw NodeError(
                .unimplemented, "\(path) cannot be run: \(String(cString: strerror(errno))): install it, or name it")
        }
        let services = [settings.controller == nil ? nil : "Controller", settings.servesNode ? "Node" : nil]
        var steps = ["serve Identity, \(services.compactMap { $0 }.joined(separator: ", ")) at \(settings.socket)"]
        if let controller = settings.controller {
            steps.append(
                "make volumes in the pools of \(controller.registry), as \(controller.hostNQN ?? "this host"), by "
                    + controller.program)
        }
        if settings.servesNode {
            let kind = settings.agent.deviceKind?.rawValue ?? "the first kind that this host has"
            steps.append("make volumes of tercet-volumed at \(settings.agent.controlSocket) devices by \(kind)")
        }
        if let registry = settings.nodeRegistry {
            let domain = settings.domain.map { ", in the failure domain \($0)" } ?? ""
            steps.append("enter the node \(settings.node ?? "of this host's name") in \(registry.registry)\(domain)")
        }
        return steps
    }

    /// Replaces this program by the server; returns only by throwing.
    private func become(_ settings: DriverSettings) throws(NodeError) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(settings) else {
            throw NodeError(.internal, "the driver's settings have no form")
        }
        let path = program ?? Self.neighbour("tercet-csi")
        let texts: [String] = [path, String(decoding: data, as: UTF8.self)]
        let arguments: [UnsafeMutablePointer<CChar>?] = texts.map { strdup($0) }
        _ = execv(path, arguments + [nil])
        let problem = errno
        for argument in arguments { free(argument) }
        let remedy = problem == ENOENT ? ": install tercet-csi, or name it with --program" : ""
        throw NodeError(.unimplemented, "\(path) cannot be run: \(String(cString: strerror(problem)))\(remedy)")
    }

    private static func neighbour(_ name: String) -> String {
        let own =
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "/usr/bin/tercet-node"
        return URL(fileURLWithPath: own).deletingLastPathComponent().appendingPathComponent(name).path
    }
}
