import ArgumentParser
import ControllerCalls
import Foundation
import NodeAgent
import Terminal

/// A failure that has been told already.
struct ReportedFailure: Error { let code: NodeCode }

/// The options that say what an agent works with.
struct AgentArguments: ParsableArguments {
    @Option(name: .long, help: ArgumentHelp("Control socket of tercet-volumed.", valueName: "PATH"))
    var socket = "/run/tercet/volumed.sock"

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Socket at which tercet-volumed serves NBD clients, for devices by nbdfuse.", valueName: "PATH"))
    var nbdSocket = "/run/tercet/nbd.sock"

    @Option(name: .long, help: ArgumentHelp("Folder of the agent for locks and devices.", valueName: "PATH"))
    var runFolder = "/run/tercet/node"

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Way to make volumes block devices, kernel-nbd or nbdfuse (default: the first that this host has).",
            valueName: "KIND"))
    var device: HostDeviceKind?

    @Option(
        name: .customLong("timeout"), help: ArgumentHelp("Seconds that a call may take.", valueName: "SECONDS"))
    var timeoutSeconds: UInt32 = 120

    func validate() throws {
        guard timeoutSeconds > 0 else {
            throw ValidationError("--timeout 0: a call needs some time; allowed: 1 and more seconds")
        }
    }

    var settings: NodeSettings {
        var settings = NodeSettings()
        settings.controlSocket = socket
        settings.nbdSocket = nbdSocket
        settings.runFolder = runFolder
        settings.deviceKind = device
        settings.timeoutSeconds = timeoutSeconds
        return settings
    }
}

/// The options that every call takes.
struct CallArguments: ParsableArguments {
    @OptionGroup var agentArguments: AgentArguments

    @Flag(name: .long, help: "Print JSON, failures with it.")
    var json = false

    private func agent() throws(NodeError) -> NodeAgent {
        try NodeAgent(agentArguments.settings) { step in writeToStandardError("tercet-node: \(step)\n") }
    }

    /// Makes a call, and prints what it returns.
    func call<Result: Encodable>(
        _ body: (NodeAgent) async throws -> Result, text: (Result) -> [String]
    ) async throws {
        do {
            let result = try await body(try agent())
            if json { return try printJSON(result) }
            for line in text(result) { print(line) }
        } catch let error as NodeError {
            if json { try printJSON(Failure(code: error.code.rawValue, name: error.code.name, message: error.message)) }
            writeToStandardError("tercet-node: \(error.code.name): \(error.message)\n")
            throw ReportedFailure(code: error.code)
        }
    }

    /// Makes a call that changes something, or prints its steps.
    func change(
        _ volume: String, isDryRun: Bool, plan: (NodeAgent, VolumeID) throws -> [String],
        _ body: (NodeAgent, VolumeID) async throws -> Void
    ) async throws {
        try await call { agent -> Done in
            let id = try VolumeID(volume)
            if isDryRun { return Done(volume: volume, steps: try plan(agent, id)) }
            try await body(agent, id)
            return Done(volume: volume)
        } text: { done in
            (done.steps ?? []).map { "would \($0)" }
        }
    }

    /// The result of a call that changes something.
    private struct Done: Encodable {
        var volume: String
        /// Steps that would be done; not there where they have been done.
        var steps: [String]?
    }

    private struct Failure: Encodable {
        var code: Int32
        var name: String
        var message: String
    }

    private func printJSON(_ value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        print(String(decoding: try encoder.encode(value), as: UTF8.self))
    }
}

extension HostDeviceKind: ExpressibleByArgument {}
extension FileSystemType: ExpressibleByArgument {}
