import ArgumentParser
import Base
import Foundation
import LoadGenerator
import NVMeInitiator
import NVMeSpec

struct ConnectTestCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "connect-test",
        abstract: "Connect, bring the controller up, read one block of each namespace, and shut down.")

    @OptionGroup var subsystem: SubsystemArguments

    @Option(name: [.customShort("i"), .customLong("nr-io-queues")], help: "I/O queues to ask for.")
    var queues = 1

    @Option(name: [.customShort("Q"), .customLong("queue-size")], help: "Entries of each I/O queue.")
    var queueEntries = 128

    @Option(help: "How many hosts to be, each with a name and an identifier of its own.")
    var hosts = 1

    @Option(help: "Seconds to stay connected, after a line that says that all are.")
    var hold = 0

    func validate() throws {
        guard (1...64).contains(queues) else { throw ValidationError("--nr-io-queues is between 1 and 64") }
        guard (2...1024).contains(queueEntries) else { throw ValidationError("--queue-size is between 2 and 1024") }
        guard (1...1024).contains(hosts) else { throw ValidationError("--hosts is between 1 and 1024") }
        guard (0...86400).contains(hold) else { throw ValidationError("--hold is between 0 and 86400 seconds") }
    }

    func run() async throws {
        let session = try Session(reactors: queues)
        defer { session.end() }
        var controllers: [Controller] = []
        var failed = false
        for number in 0..<hosts {
            var options = try subsystem.options()
            options.queueEntries = queueEntries
            options.operationsPerQueue = min(options.operationsPerQueue, queueEntries * 2)
            if number > 0 {
                let identity = HostIdentity.fresh()
                options.hostNQN = identity.nqn
                options.hostID = identity.id
            }
            let start = MonotonicTime.now()
            let controller = try await session.connect(options)
            let took = MonotonicTime.now().nanoseconds(since: start) / 1000
            guard let association = controller.association else {
                throw TercetError(.unavailable, "the connection was lost at once")
            }
            controllers.append(controller)
            print(
                "connected in \(took) µs: controller \(association.controllerID), \(association.queueCount) I/O queues")
            if number == 0 {
                let identify = association.identify
                print(
                    "model \(identify.modelNumber), serial \(identify.serialNumber), "
                        + "firmware \(identify.firmwareRevision)")
                failed = try await !readsAll(controller)
            }
        }
        if hold > 0 {
            // For a script that waits for it, and may read a pipe.
            try? FileHandle.standardOutput.write(contentsOf: Data("\(hosts) connected\n".utf8))
            try await Task.sleep(nanoseconds: UInt64(hold) * 1_000_000_000)
        }
        for controller in controllers { await controller.close() }
        if failed { throw TercetError(.failed, "not all namespaces could be read") }
    }

    /// Reads one block of each namespace and says how that went.
    private func readsAll(_ controller: Controller) async throws -> Bool {
        var failed = false
        for namespace in controller.namespaces {
            let name = "namespace \(namespace.nsid): \(namespace.blockCount) blocks of \(namespace.blockSize) bytes"
            if let problem = namespace.problem {
                print("\(name): \(problem)")
                continue
            }
            let memory = try await DataMemory(controller.queues[0], bytes: namespace.blockSize, for: .reading)
            let completion = await controller.queues[0].perform(
                IOOperation(.read, namespace: namespace.index, blockCount: 1, data: memory.segment))
            print("\(name): \(completion.problem ?? "block 0 read")")
            failed = failed || !completion.isSuccess
        }
        return !failed
    }
}
