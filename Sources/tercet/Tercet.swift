import ArgumentParser
import Base
import Foundation
import Terminal

/// The operator's command: what a host can see of NVMe-oF targets over RDMA, and do with them.
struct Tercet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tercet", abstract: "NVMe-oF over RDMA from user space: find, look at, read, write and measure.",
        discussion: """
            Addresses are given as to nvme-cli: -t rdma -a ADDRESS -s PORT -n SUBNQN. No kernel module is needed on \
            this host but the RDMA device's own; with softverbs preloaded, not even that.

            Sizes are in bytes; K, M, G and T, also as KiB, MiB, GiB and TiB, in either case, are powers of 1024.

            Exit status: 0 where all went well, 1 where something failed, 2 for wrong usage.
            """,
        version: "0.1",
        subcommands: [
            DiscoverCommand.self, ConnectTestCommand.self, IdentifyCommand.self, ReadCommand.self, WriteCommand.self,
            BenchCommand.self, VolumeCommand.self, RegistryCommand.self, PoolCommand.self, NodeCommand.self,
            TargetCommand.self,
            TopCommand.self, DoctorCommand.self, KeyCommand.self, TraceCommand.self, ControllerCommand.self,
        ])
}

@main
enum Main {
    /// Wrong usage ends with exit status 2, anything else that fails with 1.
    static func main() async {
        do {
            var command = try Tercet.parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch let error as TercetError {
            writeToStandardError("tercet: \(error)\n")
            exit(1)
        } catch {
            guard Tercet.exitCode(for: error) == .validationFailure else { Tercet.exit(withError: error) }
            Tercet.exitAfterParsing(error)
        }
    }
}
