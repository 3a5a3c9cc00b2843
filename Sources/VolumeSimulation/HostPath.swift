import Base
import FabricInterface
import InitiatorTransport
import Memory
import NVMeInitiator
import NVMeSpec
import RDMATransport
import Replication

/// A host's path to one of the daemons: the real controller of our initiator, made anew when it is given up, and the state of the path
/// as the daemon's target has told it.
final class HostPath: CompletionSink, @unchecked Sendable {
    // Unchecked: one thread drives a simulation.
    let place: Int
    private unowned let host: MultipathHost
    private(set) var controller: Controller?
    private(set) var isConnected = false
    private(set) var access = ANAState.inaccessible
    /// Raised with each connection and each change of the state: answers from before do not count.
    private var generation: UInt64 = 0
    private var isReading = false
    private var mustRead = false
    private var keys = TransferKeys()
    private var isClosed = false

    /// Between two attempts to connect, in milliseconds.
    private static let retryMilliseconds: UInt64 = 40

    init(_ place: Int, host: MultipathHost) {
        self.place = place
        self.host = host
    }

    /// The path is one to use.
    var isUsable: Bool { isConnected && access == .optimized && controller?.queues[0].isLive == true }

    // MARK: The connection

    func connect(_ address: SocketAddress) {
        guard !isClosed else { return }
        // One thread drives a simulation.
        let made = Controller(
            ControllerOptions(
                address: address, subsystemNQN: OwnerTarget.nqn, hostNQN: host.nqn, hostID: host.identifier,
                queueEntries: 16, keepAliveMilliseconds: 200, connectTimeoutMilliseconds: 100,
                reconnectTimeoutMilliseconds: 100, ioTimeoutMilliseconds: 400, adminTimeoutMilliseconds: 400,
                recovery: .fail, reconnectDelayMilliseconds: 10...80, controllerLossMilliseconds: 1_000_000),
            home: host.group, groups: [host.group]
        ) { [unowned self] event in heard(event) }
        controller = made
        made.queues[0].sink = self
        let group = host.group
        group.spawn { [self] in
            do throws(InitiatorError) { try await made.connect() } catch {
                await group.sleep(milliseconds: Self.retryMilliseconds)
                await renew(address)
            }
        }
    }

    /// Gives the controller up, and makes another one.
    private func renew(_ address: SocketAddress) async {
        guard let former = controller else { return }
        controller = nil
        await former.close()
        former.queues[0].sink = nil
        connect(address)
    }

    private func heard(_ event: ControllerEvent) {
        switch event {
        case .connected:
            isConnected = true
            generation += 1
            access = .inaccessible
            if let context = controller?.queues[0].device?.context,
                let keys = try? host.arena.transferKeys(with: context)
            {
                self.keys = keys
            }
            readAccess()
        case .disconnected:
            isConnected = false
            generation += 1
            access = .inaccessible
        case .anaChanged: readAccess()
        case .lost:
            guard let address = controller?.options.address else { return }
            host.group.spawn { [self] in await renew(address) }
        case .reconnectFailed, .failingFast, .namespacesChanged, .discoveryLogChanged, .reservationNotification,
            .asyncEvent, .closed:
            break
        }
    }

    /// It is not used until it has said anew what it is good for.
    func suspend() { access = .inaccessible }

    /// Asks what the path is good for, once more where it has changed meanwhile.
    func readAccess() {
        guard !isReading else { return mustRead = true }
        guard let controller, isConnected, !isClosed else { return }
        isReading = true
        mustRead = false
        let asked = generation
        host.group.spawn { [self] in
            let log = try? await controller.anaLog()
            isReading = false
            guard !isClosed else { return }
            if generation == asked, let log {
                access = log.groups.first?.state ?? .inaccessible
                host.world.trace { "\(self.host.name): path to d\(self.place) is \(self.access)" }
            }
            if mustRead || generation != asked { readAccess() }
        }
    }

    // MARK: I/O

    func submit(_ operation: IOOperation, buffer: UnsafeMutableRawPointer?, length: Int) -> Bool {
        guard let controller else { return false }
        var operation = operation
        if let buffer {
            let region = keys.region(isIncoming: operation.kind == .read)
            operation.data = IOSegment(
                address: buffer, length: length, localKey: region.localKey, remoteKey: region.remoteKey)
        }
        guard case .accepted = controller.queues[0].submit(operation) else { return false }
        return true
    }

    override func completed(_ completions: UnsafeBufferPointer<IOCompletion>) {
        for completion in completions { host.completed(completion, by: self) }
    }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        if let controller { host.group.spawn { await controller.close() } }
    }

    func forget() {
        controller?.queues[0].sink = nil
        controller = nil
    }
}
