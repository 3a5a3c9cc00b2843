import ArgumentParser
import Base
import Foundation
import HostDiagnosis
import TargetConfiguration

/// Looks for what is wrong with this host, before it costs an outage.
struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor", abstract: "Check this host's set-up for targets and volumes, and say how to mend it.",
        discussion: """
            Looks at RDMA devices and their ports, MTU and GIDs, at limits of locked memory and descriptors, at units of \
            systemd, NUMA nodes, the clock and the kernel; with --config at what a target's configuration needs; with --target at \
            targets, each reached and timed from here. Each finding comes with the reason why it matters and its remedy. A host \
            that is right gets one line.

            Exit status: 0 where nothing is wrong, 3 where the worst is a warning, 4 where something does not work; 1 and 2 as for \
            every command: it failed, or wrong usage.
            """)

    @Option(name: .long, help: ArgumentHelp("Configuration file of a tercetd of this host.", valueName: "FILE"))
    var config: String?

    @Option(
        name: .long,
        help: ArgumentHelp("A target to reach; with several addresses, each. Repeatable.", valueName: "ADDRESS[:PORT]"))
    var target: [String] = []

    @Flag(name: .long, help: "Print JSON.") var json = false

    func run() async throws {
        let targets = try target.map { text in
            guard let address = SocketAddress(text, defaultPort: 4420), address.port != 0 else {
                throw ValidationError(
                    "--target \(text): no address; allowed: ADDRESS, ADDRESS:PORT, [IPV6] or [IPV6]:PORT, in numbers")
            }
            return address
        }
        let configuration = try config.map { try Configuration(contentsOf: $0) }
        var facts = HostFacts.ofThisHost(configuration)
        for address in targets {
            facts.targets.append(await .reach(address, mayTry: facts.rdmaProblem == nil && !facts.devices.isEmpty))
        }
        let findings = facts.findings
        if json {
            try printJSON(findings)
        } else if findings.isEmpty {
            let devices = facts.devices.map(\.name).joined(separator: ", ")
            print("nothing is wrong: \(devices)" + (targets.isEmpty ? "" : "; \(targets.count) targets reached"))
        } else {
            for line in findings.flatMap(\.lines) { print(line) }
        }
        switch findings.map(\.severity).max() {
        case .error: throw ExitCode(4)
        case .warning: throw ExitCode(3)
        case nil: break
        }
    }
}
