import Base
import BlockBackend
import BlockInterface
import ControlPlane
import Glibc
import Logging
import Metrics
import NBDOverTCP
import NBDServer
import NVMeInitiator
import RDMATransport
import Reactor
import Replication
import TargetConfiguration
import UnixSockets
import VerbsFabric
import VolumeDriver
import VolumedConfiguration

/// The parts of the daemon, joined: reactors with a server each, volumes that are attached, devices that are open.
actor Daemon {
    let configuration: VolumedConfiguration
    /// The name by which members know this host.
    let hostNQN: String
    let journal: Journal
    let exports = ExportList()
    let reactors: [Reactor]
    let reactorPlaces: [TargetState.ReactorPlace]
    let servers: [ExportServer]
    /// The initiator of each reactor, once it has a volume.
    var groups: [InitiatorGroup?]
    /// The things that volumes of a reactor have in common: registrations of the server's memory, and where they compete.
    let registrations: [SharedRegistrations]
    let shares: [FairShare]
    var volumes: [AttachedVolume] = []
    /// Devices of this machine, by their names.
    var devices: [(name: String, device: any BlockDevice, place: Int)] = []
    /// Volumes that are to be attached, by their names; and what they have told.
    var wanted: [String: VolumedConfiguration.VolumeEntry] = [:]
    var histories: [String: VolumeHistory] = [:]
    /// Those of them, and of the exports, that the daemon after this one has to know.
    var kept = KeptVolumes()
    /// A bounded number is attached at the same time.
    var turns: AttachTurns
    private(set) var beginning = Beginning.underWay
    let started = MonotonicTime.now()
    /// The volumes whose attach has not ended; some are not wanted any more.
    var attaching: Set<String> = []
    private var nextPlace = 0
    private(set) var listeners: [UnixListener] = []
    var tcpListeners: [TCPListener] = []
    /// Serves clients over TCP, where they have keys.
    var relay: TLSRelay?
    /// The control socket, which the next daemon takes.
    var control: ControlServer?
    let single: SingleClient?
    /// The service manager's descriptor store, where it has one for this service.
    let store: DescriptorStore?
    /// Sockets that listen are in it.
    var hasLeftListeners = false
    /// Everything has gone to the next daemon.
    var isHandedOver = false
    /// Block devices of this machine.
    let kernel: KernelExports
    let ublk: UblkExports
    /// The target, where volumes are offered to NVMe hosts.
    var reexport: Reexport?
    /// The succession of the volumes, where they are shared with other daemons; and where the reservations of their hosts are kept.
    var successor: Successor?
    /// How long the volumes that are shared are this daemon's.
    var terms: [String: ServingTerm] = [:]
    let sharedReservations: SharedReservations?
    /// The last reasons why shared volumes could not be attached.
    var refusals: [String: String] = [:]
    var isStopping = false
    nonisolated let watch: ReactorWatch
    var metrics: HTTPServer?

    /// How long clients have for what is under way when the daemon stops.
    static let drainSeconds = 10.0

    /// - Parameters:
    ///   - inherited: sockets of a service manager, or of the daemon before this one.
    ///   - tcp: TCP sockets of that daemon.
    ///   - single: the only client, with which the daemon ends.
    ///   - store: the service manager's, for what clients hold while the daemon starts anew.
    init(
        _ configuration: VolumedConfiguration, inherited: [UnixListener], tcp: [TCPListener] = [],
        single: SingleClient? = nil, store: DescriptorStore? = nil, journal: Journal
    ) throws(TercetError) {
        self.single = single
        self.store = store
        self.configuration = configuration
        hostNQN = HostIdentity(nqn: configuration.hostNQN, id: .random()).nqn
        self.journal = journal
        // From the last processor on: a target on the same machine begins with the first.
        let places = ProcessorPlaces.this
        let processors = places.lastProcessors(configuration.reactors)
        reactors = processors.enumerated().map { Reactor(name: "volumed \($0)", processor: $1) }
        reactorPlaces = processors.map { .init(processor: $0, node: places.node(of: $0)) }
        watch = ReactorWatch(reactors)
        groups = Array(repeating: nil, count: reactors.count)
        turns = AttachTurns(atOnce: reactors.count * Self.attachesOfReactor)
        registrations = reactors.map { _ in SharedRegistrations() }
        shares = reactors.map { _ in FairShare() }
        var options = ExportServerOptions()
        options.memoryBytes = configuration.nbdMemory
        options.patienceMilliseconds = configuration.clientPatienceMilliseconds
        var servers: [ExportServer] = []
        for (index, reactor) in reactors.enumerated() {
            let server = try ExportServer(
                index: index, exports: exports, options: options, send: { reactor.send($0) }
            ) { journal.write($0) }
            reactor.add(server)
            servers.append(server)
        }
        self.servers = servers
        for server in servers { server.meet(servers) }
        kernel = KernelExports(configuration.kernel, servers: servers, reactors: reactors, journal: journal)
        sharedReservations = configuration.succession == nil ? nil : SharedReservations()
        ublk = UblkExports(folder: configuration.kernel.folder, reactors: reactors, journal: journal)
        listeners = inherited.filter { !TCPListener.isTCP($0.descriptor) }
        for listener in tcp {
            if configuration.nbdAddresses.contains(where: { listener.name == "tcp://\($0)" }) {
                tcpListeners.append(listener)
            } else {
                journal.write(
                    .notice, "the former daemon's address is not served any more", ["address": "\(listener.name)"])
                listener.close()
            }
        }
        for listener in inherited where TCPListener.isTCP(listener.descriptor) {
            tcpListeners.append(TCPListener(inherited: listener.descriptor))
        }
    }

    /// Opens the devices and takes the sockets. Clients wait at them until `accept`.
    func start() async throws(TercetError) {
        if configuration.usesKernelNBD { try await kernel.check() }
        if configuration.usesUblk { try await ublk.check() }
        for entry in configuration.devices {
            let device = try entry.specification.open()
            for remark in device.remarks { journal.write(.warning, remark) }
            let place = takePlace()
            devices.append((entry.name, device, place))
            if entry.exports.contains(.nbd) {
                try exports.add(Export(name: entry.name, text: device.name, device: device, home: place))
            }
        }
        if let path = configuration.nbdSocket, !listeners.contains(where: { $0.path == path }) {
            listeners.append(try UnixListener(path: path))
        }
        try openTCP()
        for reactor in reactors { reactor.start() }
        for entry in configuration.devices {
            for kind in entry.exports where kind.isBlockDevice {
                try await export(entry.name, of: entry.name, as: kind)
            }
        }
        if let address = configuration.nvmeAddress {
            let made = Reexport(
                reactors: reactors, nodes: reactorPlaces.map(\.node), reservations: sharedReservations, journal: journal
            )
            try await made.start(at: address)
            reexport = made
        }
    }

    /// How the beginning has gone.
    enum Beginning {
        case underWay
        /// Clients are let in.
        case serving
        /// No further attempt would help.
        case failed(VolumeError)
    }

    /// Attaches the volumes, and then lets clients in and goes on with those of the former daemon; `beginning` tells how that goes.
    func begin(_ taken: TakenOver?) {
        Task {
            do throws(VolumeError) {
                if let settings = configuration.succession {
                    try await beginSuccession(settings)
                } else {
                    try await attachAll()
                }
            } catch {
                beginning = .failed(error)
                return
            }
            if let taken { await resume(taken) }
            guard !isStopping else { return }
            await accept()
            beginning = .serving
        }
    }

    /// Lets clients in, once there is what they come for.
    private func accept() async {
        let bare = relay == nil ? tcpListeners.map(\.descriptor) : []
        let (server, descriptors, single) = (servers[0], listeners.map(\.descriptor) + bare, single)
        relay?.start()
        await reactors[0].run {
            for descriptor in descriptors { server.listen(on: descriptor) }
            // As handOver does: the daemon ends as if it were told to.
            if let single { server.adopt(single.descriptor) { kill(getpid(), SIGTERM) } }
        }
    }

    /// The reactor for what comes next: round and round.
    func takePlace() -> Int {
        defer { nextPlace += 1 }
        return nextPlace % reactors.count
    }

    // MARK: Care

    /// For the log's line at the start.
    var summary: Logger.Metadata {
        [
            "exports": "\(exports.all.map(\.name).joined(separator: ", "))",
            "socket": "\(configuration.nbdSocket ?? (listeners.isEmpty ? "none" : "inherited"))",
            "tcp": "\(tcpListeners.isEmpty ? "none" : tcpListeners.map(\.name).joined(separator: ", "))",
        ]
    }

    /// Whether every reactor has come by since it was last asked; asks again.
    func isAlive() -> Bool { watch.ask().isEmpty }

    /// Looks for devices that have changed their sizes: new sessions see them.
    func refresh() async {
        // A device tells of a change once.
        await reexport?.refresh()
        await kernel.refresh()
        for entry in devices { _ = entry.device.refresh() }
    }

    // MARK: The end

    /// Answers what is under way, detaches the volumes, and ends the threads. Returns the volumes that were not left clean.
    func stop() async -> [String] {
        isStopping = true
        await settle()
        await successor?.stop()
        relay?.stopListening()
        for (server, reactor) in zip(servers, reactors) { await reactor.run { server.stopListening() } }
        control?.stop()
        metrics?.stop()
        var unclean: [String] = []
        if isHandedOver {
            for listener in listeners { listener.leave() }
        } else {
            await kernel.stop(leaving: kept.blockDevices)
            await ublk.stop(leaving: kept.blockDevices)
            let (keeps, stoppedAt) = (keepsClients, MonotonicTime.now())
            let sessions = keeps ? await surrenderSessions() : []
            await drainClients()
            unclean = await detachAll()
            if keeps { leaveClients(sessions, stoppedAt: stoppedAt) }
            for listener in listeners { hasLeftListeners ? listener.leave() : listener.close() }
        }
        relay?.stop()
        for listener in tcpListeners { listener.close() }
        await reexport?.stop()
        for reactor in reactors { reactor.stop() }
        await reexport?.close()
        for group in groups { group?.close() }
        for server in servers { server.part() }
        return unclean
    }

    /// Detaches all volumes, whose sessions have ended. Returns those that are not left clean.
    func detachAll() async -> [String] {
        var unclean: [String] = []
        await withTaskGroup(of: String?.self) { tasks in
            for volume in volumes { tasks.addTask { await self.detach(volume) } }
            for await name in tasks { if let name { unclean.append(name) } }
        }
        volumes = []
        return unclean
    }

    /// Answers control methods at a socket. `events` are those of the log.
    func answer(at listener: UnixListener, events: ControlBroadcast) {
        var methods = methods
        methods.addWatch(events)
        let server = ControlServer(listener, methods)
        server.start()
        control = server
    }

    /// Detaches a volume whose sessions have ended. Returns its name where it is not left clean.
    ///
    /// - Parameters:
    ///   - patienceMilliseconds: how long it may go on without coming any further.
    ///   - leavesReservations: another daemon attaches it at once, and takes the members' reservations away.
    func detach(
        _ volume: AttachedVolume, patienceMilliseconds: UInt64 = VolumeAttachment.detachPatienceMilliseconds,
        leavesReservations: Bool = false
    ) async -> String? {
        // A shared one stays there for its hosts.
        if successor == nil { await reexport?.remove(volume.attachment.superblock.volume) }
        do throws(VolumeError) {
            try await volume.attachment.detach(
                patienceMilliseconds: patienceMilliseconds, leavesReservations: leavesReservations)
            journal.write(
                .notice, "volume detached", await volume.attachment.detachTimes().metadata(of: volume.entry.name))
            return nil
        } catch {
            journal.write(.error, error.message, ["volume": "\(volume.entry.name)"])
            return volume.entry.name
        }
    }

    /// Waits until all connections have ended. Those that do not in time are ended; what a device still has of them then is
    /// left to the end of the device.
    private func drainClients() async {
        let reason = "the daemon stops"
        let (ends, end) = AsyncStream<Void>.makeStream()
        let (servers, reactors) = (servers, reactors)
        Task {
            for (server, reactor) in zip(servers, reactors) {
                await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                    reactor.send { server.drain(reason: reason, whenOver: { continuation.resume() }) }
                }
            }
            end.finish()
        }
        let timer = Task {
            try await Task.sleep(for: .seconds(Self.drainSeconds))
            for (server, reactor) in zip(servers, reactors) { reactor.send { server.abandon(reason: reason) } }
            try await Task.sleep(for: .seconds(1))
            end.finish()
        }
        for await _ in ends {}
        timer.cancel()
    }
}

extension DetachTimes {
    /// A detach that took longer says which step it was.
    private static let usualMilliseconds: UInt64 = 100

    /// The fields of a log line about the detach of a volume.
    fileprivate func metadata(of name: String) -> Logger.Metadata {
        func text(_ nanoseconds: UInt64) -> Logger.MetadataValue { "\(nanoseconds / 1_000_000)" }
        var metadata: Logger.Metadata = ["volume": "\(name)", "milliseconds": text(total)]
        guard total / 1_000_000 > Self.usualMilliseconds else { return metadata }
        metadata["drain"] = text(drain)
        metadata["flush"] = text(flush)
        metadata["maps"] = text(maps)
        metadata["record"] = text(record)
        metadata["release"] = text(release)
        return metadata
    }
}

extension Journal {
    /// Writes what an NBD server tells.
    func write(_ event: ExportServerEvent) {
        switch event {
        case .sessionBegan(let export, let session):
            write(.info, "NBD session began", ["export": "\(export)", "session": "\(session)"])
        case .sessionEnded(let export, let session, let reason):
            write(.info, "NBD session ended", ["export": "\(export)", "session": "\(session)", "reason": "\(reason)"])
        case .clientRefused(let reason): write(.warning, "NBD client refused", ["reason": "\(reason)"])
        case .acceptFailed(let reason):
            write(.error, "NBD client cannot be accepted; it is tried again", ["reason": "\(reason)"])
        }
    }
}
