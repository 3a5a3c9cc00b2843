import ArgumentParser
import Base
import FabricInterface
import Foundation
import NVMeInitiator
import NVMeSpec
import Terminal

struct DiscoverCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "discover",
        abstract: "Show the subsystems that a discovery controller knows, and those it refers to.")

    @OptionGroup(title: "Connection") var address: AddressArguments

    @Option(name: [.customShort("n"), .customLong("nqn")], help: "NQN of the discovery subsystem.")
    var nqn = NQN.discovery

    @Flag(help: "Print JSON.") var json = false

    @Flag(help: "Stay connected and print the log again whenever it changes.") var persistent = false

    func run() async throws {
        let session = try Session()
        defer { session.end() }
        let options = try address.options(nqn)
        if persistent { return try await watch(session, options) }
        let answers = await Discovery.search(options, group: session.groups[0])
        if case .failure(let error) = answers[0].result { throw TercetError(.unavailable, "\(error)") }
        for answer in answers {
            switch answer.result {
            case .success(let log): try show(log, answer.address)
            case .failure(let error):
                writeToStandardError("tercet: referral to \(answer.address): \(error)\n")
            }
        }
    }

    private func watch(_ session: Session, _ options: ControllerOptions) async throws {
        let (changes, continuation) = AsyncStream.makeStream(of: String?.self)
        let controller = try await session.connect(options, queues: 0) { event in
            switch event {
            case .connected, .discoveryLogChanged: continuation.yield(nil)
            case .disconnected(_, let reason): continuation.yield(reason)
            case .lost(let error):
                continuation.yield("\(error)")
                continuation.finish()
            default: break
            }
        }
        for await reason in changes {
            if let reason {
                writeToStandardError("tercet: \(reason)\n")
            } else if let log = try? await controller.discoveryLog() {
                try show(log, options.address)
                // A reader of a pipe or a file sees it now.
                fflush(nil)
            }
        }
        await controller.close()
        throw TercetError(.unavailable, "the discovery controller is gone")
    }

    private func show(_ log: DiscoveryLog, _ from: SocketAddress) throws {
        if json {
            return try printJSON(
                DiscoverResult(
                    device: "\(from)", genctr: log.header.generation,
                    records: log.entries.map(DiscoverResult.Record.init)))
        }
        print("Discovery log of \(from): \(log.entries.count) records, generation counter \(log.header.generation)")
        for (index, entry) in log.entries.enumerated() {
            print("===== Entry \(index) =====")
            print("trtype:  \(entry.transport.name)")
            print("adrfam:  \(entry.addressFamily.name)")
            print("subtype: \(entry.subsystemType.name)")
            print("portid:  \(entry.portID)")
            print("trsvcid: \(entry.serviceID)")
            print("subnqn:  \(entry.subsystemNQN)")
            print("traddr:  \(entry.address)")
        }
    }
}

/// The result of `discover --json`, with the names of nvme-cli.
struct DiscoverResult: Encodable {
    /// The address that was asked.
    var device: String
    var genctr: UInt64
    var records: [Record]

    struct Record: Encodable {
        var trtype: String
        var adrfam: String
        var subtype: String
        var portid: UInt16
        var trsvcid: String
        var subnqn: String
        var traddr: String

        init(_ entry: DiscoveryLogEntry) {
            trtype = entry.transport.name
            adrfam = entry.addressFamily.name
            subtype = entry.subsystemType.name
            portid = entry.portID
            trsvcid = entry.serviceID
            subnqn = entry.subsystemNQN
            traddr = entry.address
        }
    }
}

/// Prints a command's result as JSON, keys in alphabetical order.
func printJSON(_ result: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    print(String(decoding: try encoder.encode(result), as: UTF8.self))
}

extension DiscoveryTransport {
    /// As nvme-cli prints it.
    var name: String {
        switch self {
        case .rdma: "rdma"
        case .fibreChannel: "fc"
        case .tcp: "tcp"
        case .loop: "loop"
        default: "unrecognized (\(rawValue))"
        }
    }
}

extension AddressFamily {
    /// As nvme-cli prints it.
    var name: String {
        switch self {
        case .ipv4: "ipv4"
        case .ipv6: "ipv6"
        case .infiniBand: "infiniband"
        case .fibreChannel: "fibre-channel"
        default: "unrecognized (\(rawValue))"
        }
    }
}

extension SubsystemType {
    /// As nvme-cli prints it.
    var name: String {
        switch self {
        case .referral: "referral"
        case .nvm: "nvme subsystem"
        case .currentDiscovery: "current discovery subsystem"
        default: "unrecognized (\(rawValue))"
        }
    }
}
