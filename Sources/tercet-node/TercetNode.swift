import ArgumentParser
import ControllerCalls
import Foundation
import NodeAgent
import Terminal

/// The node agent: what a container orchestrator asks of a host, by hand.
struct TercetNode: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tercet-node",
        abstract:
            "Makes volumes of tercet-volumed usable on this host, in the steps of the Container Storage Interface.",
        discussion: """
            A volume is staged once on a host, where it becomes a device, is formatted if it is blank, and is mounted; it is \
            published to each pod, which is another mount of the same. Each call may be made again, whatever became of the one \
            before; what is done already is not done twice. A volume that has ever been written is never formatted.

            Exit status: 0 where all is as it was asked for; 2 for wrong usage; otherwise the code that the specification gives the \
            failure: 3 INVALID_ARGUMENT, 4 DEADLINE_EXCEEDED, 5 NOT_FOUND, 6 ALREADY_EXISTS, 7 PERMISSION_DENIED, \
            8 RESOURCE_EXHAUSTED, 9 FAILED_PRECONDITION, 10 ABORTED, 11 OUT_OF_RANGE, 12 UNIMPLEMENTED, 13 INTERNAL, 14 UNAVAILABLE.
            """,
        version: "0.1",
        subcommands: [
            StageCommand.self, UnstageCommand.self, PublishCommand.self, UnpublishCommand.self, StatsCommand.self,
            ExpandCommand.self, InfoCommand.self, ListCommand.self, ServeCommand.self,
        ])
}

@main
enum Main {
    static func main() async {
        do {
            var command = try TercetNode.parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch let failure as ReportedFailure {
            Foundation.exit(failure.code.rawValue)
        } catch {
            guard TercetNode.exitCode(for: error) == .validationFailure else { TercetNode.exit(withError: error) }
            TercetNode.exitAfterParsing(error)
        }
    }
}
