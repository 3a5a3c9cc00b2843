import Base
import BlockBackend
import BlockInterface
import FabricInterface
import Glibc
import Logging
import NVMeSpec
import NVMeTarget
import RDMATransport
import Reactor
import TargetConfiguration
import TargetTransport
import VerbsFabric

/// A failure of the daemon: one line for people.
struct ServiceError: Error, CustomStringConvertible {
    var description: String
}

/// The running daemon: the target, and a reactor with a poll group for each processor that it uses.
@MainActor
final class Service {
    private let logger: Logger
    private let target: Target
    private var reactors: [Reactor] = []
    private var groups: [GroupBox] = []
    private let store: (any ReservationStore)?
    private var portIDs: [SocketAddress: UInt16] = [:]

    /// A poll group belongs to its reactor's thread; here it is only kept and handed over.
    private final class GroupBox: @unchecked Sendable {
        let group: PollGroup
        init(_ group: PollGroup) { self.group = group }
    }

    init(_ configuration: Configuration, logger: Logger) {
        self.logger = logger
        store = configuration.stateDirectory.map { FileReservationStore(folder: $0) }
        // Seconds and nanoseconds of the start tell this run from every other one.
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        target = Target(
            options: TargetOptions(configuration), bootInstance: UInt64(time.tv_sec) << 32 | UInt64(time.tv_nsec),
            now: .now(), observe: { logger.record($0) })
        for (position, processor) in configuration.reactors.processors.enumerated() {
            reactors.append(Reactor(name: "reactor-\(position)", processor: processor))
        }
    }

    /// Opens what the configuration exports, starts the reactors and listens.
    func start(_ configuration: Configuration) async throws(ServiceError) {
        for subsystem in configuration.subsystems {
            try add(subsystem)
            for namespace in subsystem.namespaces { try add(namespace, to: subsystem.nqn) }
        }
        for reactor in reactors {
            let fabric: VerbsFabric
            do throws(FabricError) {
                fabric = try VerbsFabric.open()
            } catch {
                throw ServiceError(description: "RDMA cannot be used: \(error.description)")
            }
            let box = GroupBox(
                PollGroup(
                    target: target, transport: RDMATargetTransport(fabric, target.options.transport), ring: reactor.ring
                ))
            groups.append(box)
            reactor.add(box.group)
            reactor.start()
        }
        for referral in configuration.referrals { target.addReferral(Referral(address: referral, portID: 0)) }
        for address in configuration.listeners { try await listen(address) }
    }

    /// Makes the target what a new configuration says. Goes on after a failure with what can still be done. Returns what
    /// the target does not have now.
    func apply(_ change: ConfigurationChange) async -> [MissingPart] {
        var missing: [MissingPart] = []
        for address in change.removedListeners { await stopListening(address) }
        for referral in change.removedReferrals { target.removeReferral(Referral(address: referral, portID: 0)) }
        for nqn in change.removedSubsystems { attempt { () throws(TargetError) in try target.removeSubsystem(nqn) } }
        for subsystem in change.addedSubsystems {
            guard attempt({ () throws(ServiceError) in try add(subsystem) }) else {
                missing.append(.subsystem(subsystem.nqn))
                continue
            }
            missing += await add(subsystem.namespaces, to: subsystem.nqn)
        }
        for subsystem in change.changedSubsystems {
            for nsid in subsystem.removedNamespaces { await remove(nsid, from: subsystem.nqn) }
            missing += await add(subsystem.addedNamespaces, to: subsystem.nqn)
            if let access = subsystem.access {
                attempt { () throws(TargetError) in
                    try target.setHosts(of: subsystem.nqn, allowsAny: access.allowsAny, hosts: access.hosts)
                }
            }
            for (group, state) in subsystem.anaStates {
                attempt { () throws(TargetError) in
                    try target.setANAState(state.wireState, group: group, of: subsystem.nqn)
                }
            }
        }
        for referral in change.addedReferrals { target.addReferral(Referral(address: referral, portID: 0)) }
        for address in change.addedListeners {
            do { try await listen(address) } catch {
                logger.error("\(error.description)")
                missing.append(.listener(address))
            }
        }
        return missing
    }

    /// Looks for devices that grew, shrank or vanished.
    func refresh() { target.refreshNamespaces() }

    /// Namespaces whose devices have vanished, and that can be opened anew as `configuration` says: the device is back, or
    /// another one is in its place. Others are left alone: to remove them would cut hosts off for nothing.
    func returnedNamespaces(_ configuration: Configuration) -> [MissingPart] {
        refresh()
        return target.vanishedNamespaces.compactMap { vanished in
            let namespace = configuration.subsystems.first { $0.nqn == vanished.subsystem }?
                .namespaces.first { $0.nsid == vanished.nsid }
            guard let namespace else { return nil }
            let part = MissingPart.namespace(vanished.nsid, subsystem: vanished.subsystem)
            do throws(TercetError) { _ = try namespace.backing.open() } catch {
                logger.error("reload: \(part) has vanished: \(error)")
                return nil
            }
            return part
        }
    }

    func remove(_ namespaces: [MissingPart]) async {
        for case .namespace(let nsid, let nqn) in namespaces { await remove(nsid, from: nqn) }
    }

    /// Removes a namespace, and returns when every reactor knows: another one may be added in its place then, and no queue
    /// that has to be closed is there to reach it.
    private func remove(_ nsid: UInt32, from nqn: String) async {
        guard attempt({ () throws(TargetError) in try target.removeNamespace(nsid, from: nqn) }) else { return }
        // Each reactor's first call comes before the poll that closes queues, the second after it.
        for _ in 0..<2 {
            for reactor in reactors { await reactor.run {} }
        }
    }

    /// Ends all connections and all threads.
    func stop() async {
        for (reactor, box) in zip(reactors, groups) {
            await reactor.run {
                box.group.close()
                reactor.remove(box.group)
            }
            reactor.stop()
        }
    }

    /// A device that was removed a moment ago stays open until every reactor has ended what runs on it. Waits for that, 5 s
    /// at most.
    private func waitUntilFree(_ backing: BlockSpecification) async {
        guard case .path = backing.backing else { return }
        for _ in 0..<100 {
            do throws(TercetError) {
                _ = try backing.open()
                return
            } catch {
                if error.code != .inUse { return }
            }
            try? await Task.sleep(nanoseconds: 50_000_000)
        }
    }

    /// Whether it worked; else the log says why not.
    @discardableResult
    private func attempt<Failure: Error>(_ body: () throws(Failure) -> Void) -> Bool {
        do { try body() } catch {
            logger.error("\(error)")
            return false
        }
        return true
    }

    // MARK: Parts

    /// Adds a subsystem, without its namespaces.
    private func add(_ subsystem: ExportedSubsystem) throws(ServiceError) {
        do {
            try target.addSubsystem(
                SubsystemDefinition(
                    nqn: subsystem.nqn, serialNumber: subsystem.serialNumber, modelNumber: subsystem.modelNumber,
                    allowsAnyHost: subsystem.access.allowsAny, hosts: subsystem.access.hosts,
                    maxIOQueues: subsystem.maxIOQueues ?? 0))
        } catch {
            throw ServiceError(description: error.description)
        }
        for (group, state) in subsystem.anaStates {
            attempt { () throws(TargetError) in
                try target.setANAState(state.wireState, group: group, of: subsystem.nqn)
            }
        }
    }

    /// Adds namespaces while the target runs. Returns those that could not be added.
    private func add(_ namespaces: [ExportedNamespace], to nqn: String) async -> [MissingPart] {
        var missing: [MissingPart] = []
        for namespace in namespaces {
            await waitUntilFree(namespace.backing)
            if !attempt({ () throws(ServiceError) in try add(namespace, to: nqn) }) {
                missing.append(.namespace(namespace.nsid, subsystem: nqn))
            }
        }
        return missing
    }

    private func add(_ namespace: ExportedNamespace, to nqn: String) throws(ServiceError) {
        do {
            let device = try namespace.backing.open()
            for remark in device.remarks { logger.warning("\(remark)") }
            let identity = namespace.identity(inSubsystem: nqn, device: device.identity)
            try target.addNamespace(
                NamespaceDefinition(
                    nsid: namespace.nsid, device: device, identity: identity, anaGroup: namespace.anaGroup,
                    store: store), to: nqn)
            logger.info(
                "namespace exported",
                metadata: [
                    "subsystem": "\(nqn)", "nsid": "\(namespace.nsid)", "device": "\(device.name)",
                    "blocks": "\(device.geometry.blockCount)", "blockSize": "\(device.geometry.blockSize)",
                ])
        } catch let error as TercetError {
            throw ServiceError(description: error.description)
        } catch {
            throw ServiceError(description: "\(error)")
        }
    }

    /// The first reactor takes the connection requests and spreads them.
    private func listen(_ address: SocketAddress) async throws(ServiceError) {
        let portID = UInt16(portIDs.count + 1)
        let listener = TargetListener(address: address, portID: portID)
        let box = groups[0]
        let failure: TransportError? = await reactors[0].run { () -> TransportError? in
            do throws(TransportError) {
                try box.group.listen(listener)
                return nil
            } catch {
                return error
            }
        }
        if let failure { throw ServiceError(description: "cannot listen at \(address): \(failure.description)") }
        portIDs[address] = portID
        logger.info("listening", metadata: ["address": "\(address)"])
    }

    private func stopListening(_ address: SocketAddress) async {
        guard let portID = portIDs[address] else { return }
        let listener = TargetListener(address: address, portID: portID)
        let box = groups[0]
        await reactors[0].run { box.group.stopListening(listener) }
        logger.info("no longer listening", metadata: ["address": "\(address)"])
    }
}

extension TargetOptions {
    fileprivate init(_ configuration: Configuration) {
        self.init(
            queueDepth: configuration.queueDepth, maxIOQueues: configuration.maxIOQueues,
            inCapsuleDataSize: configuration.inCapsuleDataSize, maxTransferSize: configuration.maxIOSize,
            sharedReceiveEntries: configuration.sharedReceiveEntries, dataMemory: configuration.dataMemory,
            sendWithInvalidate: configuration.sendWithInvalidate,
            maxKeepAliveMilliseconds: configuration.maxKeepAliveMilliseconds)
    }
}

extension ReactorChoice {
    /// Ordinals of the processors, among those that the process may use.
    fileprivate var processors: [Int] {
        switch self {
        case .automatic: Array(0..<max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
        case .count(let count): Array(0..<count)
        case .processors(let ordinals): ordinals
        }
    }
}

extension HostAccess {
    fileprivate var allowsAny: Bool { self == .anyHost }

    fileprivate var hosts: Set<String> {
        switch self {
        case .anyHost: []
        case .hosts(let hosts): hosts
        }
    }
}

extension ANAGroupState {
    fileprivate var wireState: ANAState {
        switch self {
        case .optimized: .optimized
        case .nonOptimized: .nonOptimized
        case .inaccessible: .inaccessible
        case .persistentLoss: .persistentLoss
        case .change: .change
        }
    }
}
