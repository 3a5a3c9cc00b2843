import ArgumentParser
import Base
import NVMeInitiator
import NVMeSpec

struct ConnectTestCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "connect-test",
        abstract: "Connect, bring the controller up, read one block of each namespace, and shut down.")

    @OptionGroup var subsystem: SubsystemArguments

    @Option(name: [.customShort("i"), .customLong("nr-io-queues")], help: "I/O queues to ask for.")
    var queues = 1

    func validate() throws {
        guard (1...64).contains(queues) else { throw ValidationError("--nr-io-queues is between 1 and 64") }
    }

    func run() async throws {
        let session = try Session(reactors: queues)
        defer { session.end() }
        let start = MonotonicTime.now()
        let controller = try await session.connect(try subsystem.options())
        let took = MonotonicTime.now().nanoseconds(since: start) / 1000
        guard let association = controller.association else { throw CommandFailure("the connection was lost at once") }
        let identify = association.identify
        print("connected in \(took) µs: controller \(association.controllerID), \(association.queueCount) I/O queues")
        print("model \(identify.modelNumber), serial \(identify.serialNumber), firmware \(identify.firmwareRevision)")
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
        await controller.close()
        if failed { throw CommandFailure("not all namespaces could be read") }
    }
}
