import ArgumentParser
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
            volume's context is three times ADDRESS:PORT/SUBNQN/NSID, with commas between, where tercet-volumed does not have the \
            volume; "takeOver", true or false, says whether a stage fences a host that has it attached. A call goes on when its \
            caller has gone; made again meanwhile, it is ABORTED. SIGTERM ends the program when the calls that run have ended.
            """)

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The socket, unix:///PATH (default: CSI_ENDPOINT of the environment).", valueName: "ENDPOINT"))
    var endpoint: String?

    @Option(name: .long, help: ArgumentHelp("The node's name (default: the host's).", valueName: "NAME"))
    var node: String?

    @Option(
        name: .long,
        help: ArgumentHelp("Volumes that this host may have; 0: the orchestrator decides.", valueName: "COUNT"))
    var maxVolumes: Int64 = 0

    @Option(name: .long, help: "Form of the log on standard error, text or json.")
    var logFormat: LogFormat = .text

    @Option(name: .long, help: "Least level that is logged.")
    var logLevel = "info"

    @Option(
        name: .long,
        help: ArgumentHelp("The program tercet-csi (default: the one beside tercet-node).", valueName: "PATH"))
    var program: String?

    @OptionGroup var agent: AgentArguments

    func run() throws {
        do throws(NodeError) {
            guard let endpoint = endpoint ?? ProcessInfo.processInfo.environment["CSI_ENDPOINT"] else {
                throw NodeError(.invalidArgument, "no endpoint: give --endpoint unix:///PATH, or CSI_ENDPOINT")
            }
            try become(
                DriverSettings(
                    agent: agent.settings, endpoint: endpoint, node: node, maximumVolumes: maxVolumes,
                    logsJSON: logFormat == .json, logLevel: logLevel))
        } catch {
            writeToStandardError("tercet-node: \(error.code.name): \(error.message)\n")
            throw ReportedFailure(code: error.code)
        }
    }

    /// Replaces this program by the server; returns only by throwing.
    private func become(_ settings: DriverSettings) throws(NodeError) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(settings) else {
            throw NodeError(.internal, "the driver's settings have no form")
        }
        let path = program ?? Self.neighbour
        let texts: [String] = [path, String(decoding: data, as: UTF8.self)]
        let arguments: [UnsafeMutablePointer<CChar>?] = texts.map { strdup($0) }
        _ = execv(path, arguments + [nil])
        let problem = errno
        for argument in arguments { free(argument) }
        let remedy = problem == ENOENT ? ": install tercet-csi, or name it with --program" : ""
        throw NodeError(.unimplemented, "\(path) cannot be run: \(String(cString: strerror(problem)))\(remedy)")
    }

    private static var neighbour: String {
        let own =
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "/usr/bin/tercet-node"
        return URL(fileURLWithPath: own).deletingLastPathComponent().appendingPathComponent("tercet-csi").path
    }
}
