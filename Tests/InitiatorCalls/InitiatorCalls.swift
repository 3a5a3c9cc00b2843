import Base
import FabricInterface
import Glibc
import NVMeInitiator
import NVMeSpec
import RDMATransport
import Reactor
import VerbsFabric

/// Makes every call of the initiator to a target: what the target says it has must work, what it has not must be refused
/// with the status for that. Reports in TAP. DESTROYS what the first namespace holds.
@main
enum InitiatorCalls {
    static func main() async {
        let arguments = CommandLine.arguments
        guard arguments.count >= 4, let port = UInt16(arguments[2]),
            let address = SocketAddress(host: arguments[1], port: port)
        else {
            print("Bail out! usage: initiator-calls ADDRESS PORT NQN [--await-change]")
            exit(2)
        }
        do {
            let group = InitiatorGroup(RDMAInitiator(try VerbsFabric.open()))
            let reactor = Reactor(name: "calls")
            reactor.add(group)
            reactor.start()
            let calls = Calls()
            try await run(calls, address, arguments[3], group, awaitsChange: arguments.contains("--await-change"))
            reactor.stop()
            group.close()
            exit(calls.end())
        } catch {
            print("Bail out! \(error)")
            exit(1)
        }
    }

    private static func run(
        _ calls: Calls, _ address: SocketAddress, _ nqn: String, _ group: InitiatorGroup, awaitsChange: Bool
    ) async throws {
        let peer = try await Peer(
            address, nqn, host: UUIDBytes(high: 0x6d1a_6a1e_0000_4000, low: 0x8000_0000_0000_0011), queues: 2,
            group: group)
        let offered = peer.identify.nvmCommands
        print("# \(nqn): ONCS \(String(offered.rawValue, radix: 16))h, FUSES \(peer.identify.fusedOperations)")
        await admin(calls, peer, address, nqn, group)
        await inputAndOutput(calls, peer)
        await optionalCommands(calls, peer)
        await reservations(calls, peer, address, nqn, group)
        if awaitsChange { await change(calls, peer) }
        await end(calls, peer)
    }

    // MARK: Admin

    private static func admin(
        _ calls: Calls, _ peer: Peer, _ address: SocketAddress, _ nqn: String, _ group: InitiatorGroup
    ) async {
        let controller = peer.controller
        await calls.check("connect: two I/O queues") {
            try expect(controller.association?.queueCount == 2, "\(controller.association?.queueCount ?? 0) queues")
        }
        await calls.check("Property Get: CAP and VS are what the association says") {
            let value = try await controller.property(.capabilities)
            try expect(value == controller.association?.capabilities.rawValue, "CAP \(value)")
            let version = try await controller.property(.version)
            try expect(version == UInt64(controller.association?.version.rawValue ?? 0), "VS \(version)")
        }
        await calls.check("Identify: controller, namespace, active namespaces, descriptors") {
            let page = try await controller.identify(.controller)
            let name = page[768..<1024].prefix { $0 != 0 }
            try expect(String(decoding: name, as: UTF8.self) == nqn, "SUBNQN in bytes 768 and on")
            let list = try await controller.identify(.activeNamespaces)
            try expect(list[0] == UInt8(truncatingIfNeeded: peer.namespace.nsid), "the first active namespace")
            let namespace = try await controller.identify(.namespace, nsid: peer.namespace.nsid)
            let size = (0..<8).reduce(UInt64(0)) { $0 | UInt64(namespace[$1]) << (8 * UInt64($1)) }
            try expect(size == peer.namespace.blockCount, "NSZE \(size)")
            let descriptors = try await controller.identify(.namespaceDescriptors, nsid: peer.namespace.nsid)
            try expect(descriptors[0] != 0, "a namespace has an identifier")
        }
        await calls.check("Identify of a namespace that is not there is refused, or all zeroes") {
            do {
                let page = try await controller.identify(.namespace, nsid: 4000)
                try expect(page.allSatisfy { $0 == 0 }, "a structure that says something")
            } catch InitiatorError.status {
                return
            }
        }
        await calls.check("Get and Set Features: queues, keep-alive, asynchronous events, write cache") {
            let queues = NumberOfQueues(rawValue: try await controller.feature(.numberOfQueues))
            try expect(queues.submission >= 2 && queues.completion >= 2, "\(queues)")
            let keepAlive = try await controller.feature(.keepAliveTimer)
            try expect(keepAlive >= 5000, "KATO \(keepAlive) ms")
            let events = try await controller.feature(.asyncEventConfiguration)
            try await controller.setFeature(.asyncEventConfiguration, events)
            let after = try await controller.feature(.asyncEventConfiguration)
            try expect(after == events, "\(events) became \(after)")
            if peer.identify.volatileWriteCache.contains(.present) {
                let cache = try await controller.feature(.volatileWriteCache)
                try expect(cache <= 1, "write cache \(cache)")
            }
        }
        await calls.check("a feature that there is not is refused with its status") {
            let status = try await refusal { () async throws(InitiatorError) in
                try await controller.feature(FeatureID(rawValue: 0x7E))
            }
            try expect(status.matches(.invalidField), "\(status)")
        }
        await calls.check("Get Log Page: error, SMART, firmware, effects") {
            let sizes: [(LogPageID, Int)] = [(.errorInformation, 64), (.smart, 512), (.firmwareSlot, 512)]
            for (page, size) in sizes {
                let bytes = try await controller.logPage(page, byteCount: size)
                try expect(bytes.count == size, "log \(page.rawValue): \(bytes.count) bytes")
            }
            let effects = try await controller.logPage(.commandsSupportedAndEffects, byteCount: 4096)
            try expect(effects[1024 + 4 * 2] & 1 == 1, "the effects log says that there is Read")
        }
        await calls.check("the ANA log, where there is one, has the namespace") {
            guard peer.identify.anaGroupCount > 0 else { return }
            let log = try await controller.anaLog()
            try expect(log.groups.contains { $0.namespaces.contains(peer.namespace.nsid) }, "\(log)")
        }
        await calls.check("a log page that there is not is refused with its status") {
            let status = try await refusal { () async throws(InitiatorError) in
                try await controller.logPage(LogPageID(rawValue: 0x7E), byteCount: 512)
            }
            try expect(status.matches(.invalidLogPage) || status.matches(.invalidField), "\(status)")
        }
        await calls.check("Abort of a command that is not under way aborts nothing") {
            let isAborted = try await controller.abort(queueID: 1, commandID: 0xFFF0)
            try expect(!isAborted, "the controller says that it has aborted it")
        }
        await calls.check("Abort of the commands of an operation: it ends all the same") {
            async let ending = peer.queue.perform(peer.operation(.read, 8, data: peer.read(0, 8)))
            _ = try await controller.abort(tag: 0, on: peer.queue)
            let completion = await ending
            try expect(completion.outcome == .surelyDone, "\(completion.outcome)")
        }
        await calls.check("the discovery log names the subsystem") {
            let answers = await Discovery.search(
                ControllerOptions(
                    address: address, subsystemNQN: NQN.discovery, hostNQN: controller.options.hostNQN,
                    hostID: controller.options.hostID), group: group)
            let log = try answers[0].result.get()
            try expect(log.entries.contains { $0.subsystemNQN == nqn }, "\(log.entries.map(\.subsystemNQN))")
        }
    }

    // MARK: The end

    /// Waits for somebody to change the namespaces of the subsystem.
    private static func change(_ calls: Calls, _ peer: Peer) async {
        await calls.check("an asynchronous event tells that namespaces have changed, and they are read again") {
            let before = peer.controller.namespaces.count
            print("# change")
            fflush(nil)
            let clock = ContinuousClock()
            let limit = clock.now.advanced(by: .seconds(60))
            while !peer.events.haveNamespacesChanged {
                try expect(clock.now < limit, "no event in 60 s")
                try await Task.sleep(for: .milliseconds(20))
            }
            try expect(peer.controller.namespaces.count == before + 1, "\(peer.controller.namespaces.count) namespaces")
        }
    }

    private static func end(_ calls: Calls, _ peer: Peer) async {
        await calls.check("close, also a second time; no operation is taken afterwards") {
            await peer.controller.close()
            await peer.controller.close()
            let completion = await peer.queue.perform(peer.operation(.flush))
            try expect(completion.outcome == .surelyNotDone && completion.failure == .notConnected, "\(completion)")
        }
    }
}
