import Base
import BlockBackend
import BlockInterface
import ControlPlane
import Logging
import NBDServer
import NVMeInitiator
import RDMATransport
import Reactor
import Replication
import Synchronization
import UnixSockets
import VerbsFabric
import VolumeDriver
import VolumedConfiguration

/// The parts of the daemon, joined: reactors with a server each, volumes that are attached, devices that are open.
actor Daemon {
    let configuration: VolumedConfiguration
    let journal: Journal
    let exports = ExportList()
    let reactors: [Reactor]
    let servers: [ExportServer]
    /// The initiator of each reactor, once it has a volume.
    private var groups: [InitiatorGroup?]
    /// The things that volumes of a reactor have in common: registrations of the server's memory, and where they compete.
    private let registrations: [SharedRegistrations]
    private let shares: [FairShare]
    var volumes: [AttachedVolume] = []
    /// Devices of this machine, by their names.
    var devices: [(name: String, device: any BlockDevice, place: Int)] = []
    /// Volumes that are to be attached, by their names; and what they have told.
    var wanted: [String: VolumedConfiguration.VolumeEntry] = [:]
    var histories: [String: VolumeHistory] = [:]
    private var nextPlace = 0
    private(set) var listeners: [UnixListener] = []
    /// The control socket, which the next daemon takes.
    var control: ControlServer?
    /// Everything has gone to the next daemon.
    var isHandedOver = false
    /// Block devices of this machine.
    let kernel: KernelExports
    /// The target, where volumes are offered to NVMe hosts.
    var reexport: Reexport?
    var isStopping = false
    /// Reactors count it up when they are asked whether they live.
    private let beats = Atomic<Int>(0)

    /// How long clients have for what is under way when the daemon stops.
    static let drainSeconds = 10.0
    /// Between two attempts to attach a volume.
    private static let retrySeconds = 5.0

    /// - Parameter inherited: sockets of a service manager.
    init(
        _ configuration: VolumedConfiguration, inherited: [UnixListener], journal: Journal
    ) throws(TercetError) {
        self.configuration = configuration
        self.journal = journal
        reactors = (0..<configuration.reactors).map { Reactor(name: "volumed \($0)", processor: $0) }
        groups = Array(repeating: nil, count: reactors.count)
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
        listeners = inherited
    }

    /// Opens the devices and takes the sockets. Clients wait at them until `accept`.
    func start() async throws(TercetError) {
        if configuration.usesKernelNBD { try await kernel.check() }
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
        for reactor in reactors { reactor.start() }
        for entry in configuration.devices where entry.exports.contains(.kernelNBD) {
            try await exportToKernel(entry.name, of: entry.name)
        }
        if let address = configuration.nvmeAddress {
            let made = Reexport(reactors: reactors, journal: journal)
            try await made.start(at: address)
            reexport = made
        }
    }

    /// Lets clients in, once there is what they come for.
    func accept() async {
        let (server, descriptors) = (servers[0], listeners.map(\.descriptor))
        await reactors[0].run { for descriptor in descriptors { server.listen(on: descriptor) } }
    }

    /// The reactor for what comes next: round and round.
    private func takePlace() -> Int {
        defer { nextPlace += 1 }
        return nextPlace % reactors.count
    }

    // MARK: Volumes

    /// Attaches all volumes. Those that cannot be attached now are tried again until the daemon stops; returns when each has been
    /// tried once. Throws for the first that no further attempt would help.
    func attachAll() async throws(VolumeError) {
        var failure: VolumeError?
        await withTaskGroup(of: VolumeError?.self) { tasks in
            for entry in configuration.volumes { tasks.addTask { await self.begin(entry) } }
            for await result in tasks where failure == nil { failure = result }
        }
        if let failure { throw failure }
    }

    /// Attaches a volume, now or later. Returns the reason where trying again cannot help.
    private func begin(_ entry: VolumedConfiguration.VolumeEntry) async -> VolumeError? {
        wanted[entry.name] = entry
        do throws(VolumeError) {
            _ = try await attach(entry)
            return nil
        } catch {
            let mayHelp = error.code != .notAttachable && error.code != .noMemory
            tell(entry, error.message, isRepeated: mayHelp)
            guard mayHelp else { return error }
            Task { await self.retry(entry, last: error.message) }
            return nil
        }
    }

    private func tell(_ entry: VolumedConfiguration.VolumeEntry, _ reason: String, isRepeated: Bool) {
        histories[entry.name]?.note("not attached: \(reason)")
        journal.write(
            .error, "volume cannot be attached" + (isRepeated ? "; it is tried again" : ""),
            ["volume": "\(entry.name)", "reason": "\(reason)"])
    }

    private func retry(_ entry: VolumedConfiguration.VolumeEntry, last: String) async {
        var last = last
        while true {
            try? await Task.sleep(for: .seconds(Self.retrySeconds))
            if isStopping || wanted[entry.name] != entry { return }
            do throws(VolumeError) {
                _ = try await attach(entry)
                return
            } catch {
                if error.message == last { continue }
                last = error.message
                tell(entry, last, isRepeated: true)
            }
        }
    }

    /// Attaches a volume and offers it under its name.
    func attach(_ entry: VolumedConfiguration.VolumeEntry) async throws(VolumeError) -> AttachedVolume {
        let place = takePlace()
        let group = try await group(place)
        let identity = HostIdentity(nqn: configuration.hostNQN, id: .random())
        var options = VolumeAttachmentOptions(members: entry.members, hostNQN: identity.nqn, hostID: identity.id)
        options.takesOver = entry.takesOver
        options.queueDepth = 256
        let nonce = UInt32.random(in: 1...UInt32.max)
        options.nonce = nonce
        options.registrations = registrations[place]
        // Memory that servers announce needs no copy: this is for the rest, and each volume has its own.
        options.bufferBytes = 16 << 20
        let history = histories[entry.name] ?? VolumeHistory()
        histories[entry.name] = history
        let observer = VolumeObserver(name: entry.name, members: entry.members, history: history, journal: journal)
        do throws(TercetError) {
            if entry.exports.contains(.kernelNBD) { try kernel.link(entry.name).noteAttempt(nonce) }
        } catch {
            throw VolumeError(.notAttachable, error.description)
        }
        let attachment = try await VolumeAttachment.open(options, group: group, host: reactors[place]) {
            observer.take($0)
        }
        let volume = AttachedVolume(
            entry: entry, place: place, attachment: attachment,
            device: await attachment.blockDevice(share: shares[place]))
        volume.device.change(entry.limits)
        do throws(TercetError) {
            try await reexport?.add(volume.device, attachment.superblock.volume)
            if entry.exports.contains(.nbd) {
                try exports.add(Export(name: entry.name, text: volume.device.name, device: volume.device, home: place))
            }
        } catch {
            await reexport?.remove(attachment.superblock.volume)
            try? await attachment.detach()
            throw VolumeError(.notAttachable, error.description)
        }
        volumes.append(volume)
        journal.write(
            .notice, "volume attached",
            [
                "volume": "\(entry.name)", "uuid": "\(attachment.superblock.volume)",
                "bytes": "\(volume.device.geometry.byteCount)",
            ])
        if entry.exports.contains(.kernelNBD) {
            do throws(TercetError) { try await exportToKernel(entry.name, of: entry.name) } catch {
                history.note("not a block device: \(error)")
                journal.write(.error, "volume cannot be a block device: \(error)", ["volume": "\(entry.name)"])
            }
        }
        return volume
    }

    /// The initiator of a reactor; made when its first volume comes.
    private func group(_ place: Int) async throws(VolumeError) -> InitiatorGroup {
        if let group = groups[place] { return group }
        let group: InitiatorGroup
        do throws(TercetError) {
            group = InitiatorGroup(RDMAInitiator(try VerbsFabric.open()), ring: reactors[place].ring)
        } catch {
            throw VolumeError(.notAttachable, "RDMA cannot be used: \(error)", cause: error)
        }
        groups[place] = group
        let reactor = reactors[place]
        await reactor.run { reactor.add(group) }
        return group
    }

    // MARK: Care

    /// For the log's line at the start.
    var summary: Logger.Metadata {
        [
            "exports": "\(exports.all.map(\.name).joined(separator: ", "))",
            "socket": "\(configuration.nbdSocket ?? (listeners.isEmpty ? "none" : "inherited"))",
        ]
    }

    /// Whether every reactor has come by since it was last asked; asks again.
    private var asked = 0
    func isAlive() -> Bool {
        let isAlive = beats.load(ordering: .relaxed) >= asked
        guard isAlive else { return false }
        asked += reactors.count
        for reactor in reactors { reactor.send { self.beats.add(1, ordering: .relaxed) } }
        return true
    }

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
        for (server, reactor) in zip(servers, reactors) { await reactor.run { server.stopListening() } }
        control?.stop()
        var unclean: [String] = []
        if isHandedOver {
            for listener in listeners { listener.leave() }
        } else {
            for listener in listeners { listener.close() }
            await kernel.stop()
            await drainClients()
            unclean = await detachAll()
        }
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

    /// Answers control methods at a socket.
    func answer(at path: String) throws(TercetError) {
        let server = ControlServer(try UnixListener(path: path, mode: 0o600), methods)
        server.start()
        control = server
    }

    /// Detaches a volume whose sessions have ended. Returns its name where it is not left clean.
    func detach(_ volume: AttachedVolume) async -> String? {
        await reexport?.remove(volume.attachment.superblock.volume)
        do throws(VolumeError) {
            try await volume.attachment.detach()
            journal.write(.notice, "volume detached", ["volume": "\(volume.entry.name)"])
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
