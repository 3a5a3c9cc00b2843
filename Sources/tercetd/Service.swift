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

/// A part of the configuration that the target does not have, and why.
struct Missing: Equatable {
    var part: MissingPart
    var reason: String
}

/// The running daemon: the target, and a reactor with a poll group for each processor that it uses.
@MainActor
final class Service {
    let logger: Logger
    let target: Target
    let store: (any ReservationStore)?
    let seed: IdentitySeed
    private let stateDirectory: StateDirectory?
    private let journal: EventJournal
    private var reactors: [Reactor] = []
    private var groups: [GroupBox] = []
    private var portIDs: [SocketAddress: UInt16] = [:]
    /// The parts that the target has: all that it was told, without what is missing.
    private(set) var reached = Configuration(listeners: [], subsystems: [])
    private(set) var missing: [Missing] = []
    /// When the devices that were opened for paths have been closed.
    var closings: [BlockSpecification.Backing: Closing] = [:]
    /// The last reports of namespaces' failures.
    var failures: [NamespaceKey: FailureReport] = [:]

    /// A poll group belongs to its reactor's thread; here it is only kept and handed over.
    private final class GroupBox: @unchecked Sendable {
        // Unchecked: it hands the group over to the thread that polls it, and does not use it.
        let group: PollGroup
        init(_ group: PollGroup) { self.group = group }
    }

    /// - Parameter configuration: its sizes and its state directory; the rest is for `apply`.
    init(_ configuration: Configuration, logger: Logger) throws(ServiceError) {
        self.logger = logger
        var directory: StateDirectory?
        if let path = configuration.stateDirectory { directory = try StateDirectory(path: path) }
        stateDirectory = directory
        store = directory.map { FileReservationStore(folder: $0.path) }
        let machine = Machine.this
        if let directory {
            let (kept, remarks) = try directory.identity(of: machine)
            for remark in remarks { logger.warning("\(remark)") }
            seed = IdentitySeed(kept: kept, machine: machine)
        } else {
            seed = IdentitySeed(kept: nil, machine: machine)
        }
        let journal = EventJournal(logger)
        self.journal = journal
        // Seconds and nanoseconds of the start tell this run from every other one.
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        target = Target(
            options: TargetOptions(configuration), bootInstance: UInt64(time.tv_sec) << 32 | UInt64(time.tv_nsec),
            now: .now(), observe: { journal.record($0) })
        // Values that need a start to take effect have taken it.
        reached = configuration
        reached.listeners = []
        reached.referrals = []
        reached.subsystems = []
        for (position, processor) in configuration.reactors.processors.enumerated() {
            reactors.append(Reactor(name: "reactor-\(position)", processor: processor))
        }
    }

    /// Starts the reactors; the target has nothing yet.
    func start() throws(ServiceError) {
        for reactor in reactors {
            let fabric: VerbsFabric
            do throws(TercetError) {
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
    }

    /// Makes the target what a configuration says. What fails is named and left out, and the rest is done. Returns, for people,
    /// what has been done.
    ///
    /// - Parameter reopened: namespaces that are made anew although nothing of what is said of them differs.
    /// - Throws: where a namespace in memory would lose its contents; nothing has been done then.
    func apply(_ desired: Configuration, reopening reopened: [MissingPart] = []) async throws(ConfigurationError)
        -> [String]
    {
        let before = reached.leavingOut(reopened)
        let change = try ConfigurationChange(from: before, to: desired)
        missing = []
        for case .namespace(let nsid, let nqn) in reopened { await remove(nsid, from: nqn) }
        for address in change.removedListeners { await stopListening(address) }
        for referral in change.removedReferrals { target.removeReferral(Referral(address: referral, portID: 0)) }
        for nqn in change.removedSubsystems {
            attempt { () throws(TargetError) in try target.removeSubsystem(nqn) }
            await target.settled()
        }
        for subsystem in change.addedSubsystems {
            if attempt(.subsystem(subsystem.nqn), { () throws(ServiceError) in try add(subsystem, desired.listeners) })
            {
                await add(subsystem.namespaces, to: subsystem.nqn)
            }
        }
        for subsystem in change.changedSubsystems { await apply(subsystem) }
        for referral in change.addedReferrals { target.addReferral(Referral(address: referral, portID: 0)) }
        for address in change.addedListeners {
            do { try await listen(address) } catch {
                missing.append(Missing(part: .listener(address), reason: error.description))
            }
        }
        reached = desired.leavingOut(missing.map(\.part))
        return (try? ConfigurationChange(from: before, to: reached))?.lines ?? []
    }

    private func apply(_ subsystem: SubsystemChange) async {
        for nsid in subsystem.removedNamespaces { await remove(nsid, from: subsystem.nqn) }
        await add(subsystem.addedNamespaces, to: subsystem.nqn)
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

    /// Looks for devices that grew, shrank, vanished or fail; each second or so.
    func refresh() {
        target.refreshNamespaces()
        reportFailures()
        journal.tick()
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
        journal.flush()
    }

    /// Whether it worked; else the log says why not.
    @discardableResult
    func attempt<Failure: Error>(_ body: () throws(Failure) -> Void) -> Bool {
        do { try body() } catch {
            logger.error("\(error)")
            return false
        }
        return true
    }

    /// Whether it worked; else the part is missing.
    @discardableResult
    func attempt(_ part: MissingPart, _ body: () throws(ServiceError) -> Void) -> Bool {
        do { try body() } catch {
            missing.append(Missing(part: part, reason: error.description))
            return false
        }
        return true
    }

    // MARK: Parts

    /// Adds a subsystem, without its namespaces.
    private func add(_ subsystem: ExportedSubsystem, _ listeners: [SocketAddress]) throws(ServiceError) {
        let serial = seed.serialNumber(nqn: subsystem.nqn, listeners: listeners.map(\.description))
        do {
            try target.addSubsystem(
                SubsystemDefinition(
                    nqn: subsystem.nqn, serialNumber: subsystem.serialNumber ?? serial,
                    modelNumber: subsystem.modelNumber, allowsAnyHost: subsystem.access.allowsAny,
                    hosts: subsystem.access.hosts, maxIOQueues: subsystem.maxIOQueues ?? 0))
        } catch {
            throw ServiceError(description: error.description)
        }
        for (group, state) in subsystem.anaStates {
            attempt { () throws(TargetError) in
                try target.setANAState(state.wireState, group: group, of: subsystem.nqn)
            }
        }
    }

    /// The first reactor takes the connection requests and spreads them.
    private func listen(_ address: SocketAddress) async throws(ServiceError) {
        let portID = portIDs[address] ?? UInt16(portIDs.count + 1)
        let listener = TargetListener(address: address, portID: portID)
        let box = groups[0]
        let failure: TercetError? = await reactors[0].run { () -> TercetError? in
            do throws(TercetError) {
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
            sendWithInvalidate: configuration.sendWithInvalidate, maxNamespaces: Configuration.maxNamespaceID,
            maxKeepAliveMilliseconds: configuration.maxKeepAliveMilliseconds)
    }
}

extension ReactorChoice {
    /// Ordinals of the processors, among those that the process may use.
    var processors: [Int] {
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
