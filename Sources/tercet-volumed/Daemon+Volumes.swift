import Base
import BlockInterface
import ControlPlane
import Logging
import NBDServer
import NVMeAuthentication
import NVMeInitiator
import RDMATransport
import Reactor
import Replication
import VerbsFabric
import VolumeDriver
import VolumedConfiguration

/// How volumes come: in turns, as many at a time as a reactor has memory for.
extension Daemon {
    /// Volumes that a reactor attaches at the same time. Each has two control commands with data under way to each of its members, at
    /// most, and a reactor has memory for 32 at the least.
    static let attachesOfReactor = 5
    /// Between two attempts to attach a volume.
    static let retrySeconds = 5.0
    /// A volume that takes longer gives its turn to the next, and goes on: its targets may be away.
    private static let turnSeconds = 1.0
    /// Clients are let in without a volume that takes longer, from the beginning of its turn.
    static let patienceSeconds = 10.0
    /// An attach of a volume that other daemons could serve is given up when its members do not come any further for so long.
    private static let sharedPatienceMilliseconds: UInt64 = 15_000
    /// How long an attach under way has to come to an end when the daemon stops.
    private static let settleSeconds = 2.0

    /// Attaches all volumes, in their order. Those that cannot be attached now are tried again until the daemon stops; returns when each
    /// has been tried once, or takes too long. Throws for the first that no further attempt would help.
    func attachAll() async throws(VolumeError) {
        let (ends, end) = AsyncStream<(name: String, failure: VolumeError?)>.makeStream()
        var left: Set<String> = []
        for entry in configuration.volumes {
            wanted[entry.name] = entry
            histories[entry.name] = VolumeHistory()
            left.insert(entry.name)
            let number = turns.join(entry.name)
            Task { end.yield((entry.name, await self.begin(entry, number) { end.yield((entry.name, nil)) })) }
        }
        for volume in kept.volumes {
            guard let entry = wanted[volume.name] else { continue }
            left.insert(entry.name)
            Task { await self.attachKept(entry) { end.yield((entry.name, nil)) } }
        }
        guard !left.isEmpty else { return }
        for await (name, failure) in ends {
            if let failure { throw failure }
            left.remove(name)
            if left.isEmpty { return }
        }
    }

    /// Attaches a volume, now or later. Returns the reason where trying again cannot help.
    ///
    /// - Parameter isLate: told when it takes longer than clients are to wait.
    private func begin(
        _ entry: VolumedConfiguration.VolumeEntry, _ number: Int, isLate: @escaping @Sendable () -> Void
    ) async -> VolumeError? {
        guard await hasTurn(entry, number) else { return nil }
        let patience = Task {
            try await Task.sleep(for: .seconds(Self.patienceSeconds))
            isLate()
        }
        defer { patience.cancel() }
        do throws(VolumeError) {
            _ = try await attach(entry, number)
            return nil
        } catch {
            guard wanted[entry.name] == entry, !isStopping else { return nil }
            let mayHelp = error.code != .notAttachable && error.code != .noMemory
            tell(entry, error.message, isRepeated: mayHelp)
            guard mayHelp else { return error }
            Task { await self.retry(entry, last: error.message) }
            return nil
        }
    }

    func tell(_ entry: VolumedConfiguration.VolumeEntry, _ reason: String, isRepeated: Bool) {
        histories[entry.name]?.note("not attached: \(reason)")
        journal.write(
            .error, "volume cannot be attached" + (isRepeated ? "; it is tried again" : ""),
            ["volume": "\(entry.name)", "reason": "\(reason)"])
    }

    private func retry(_ entry: VolumedConfiguration.VolumeEntry, last: String) async {
        var last = last
        while true {
            try? await Task.sleep(for: .seconds(Self.retrySeconds))
            guard !isStopping, wanted[entry.name] == entry, !isComing(entry.name) else { return }
            let number = turns.join(entry.name)
            guard await hasTurn(entry, number) else { return }
            do throws(VolumeError) {
                _ = try await attach(entry, number)
                return
            } catch {
                guard !isStopping, wanted[entry.name] == entry else { return }
                if error.message == last { continue }
                last = error.message
                tell(entry, last, isRepeated: true)
            }
        }
    }

    /// Whether a volume is attached, or is being attached: by an operator, who had detached it before.
    func isComing(_ name: String) -> Bool {
        attaching.contains(name) || volumes.contains { $0.entry.name == name }
    }

    /// Waits for a volume's turn. False where it is not to be attached any more; it has none then.
    func hasTurn(_ entry: VolumedConfiguration.VolumeEntry, _ number: Int) async -> Bool {
        let hasTurn = await withCheckedContinuation { turns.tell(number, $0) }
        guard hasTurn, !isStopping, wanted[entry.name] == entry else {
            turns.leave(number)
            return false
        }
        return true
    }

    /// Lets no further volume be attached, and waits for those that are being attached; not for long, as their targets may be away.
    func settle() async {
        turns.withdrawAll()
        let end = ContinuousClock.now + .seconds(Self.settleSeconds)
        while !attaching.isEmpty, ContinuousClock.now < end { try? await Task.sleep(for: .milliseconds(5)) }
    }

    /// Attaches a volume whose turn it is, and offers it under its name. It gives the turn back, at the end or when it takes long.
    ///
    /// - Parameter number: its place in the turns.
    func attach(
        _ entry: VolumedConfiguration.VolumeEntry, _ number: Int
    ) async throws(VolumeError) -> AttachedVolume {
        let began = ContinuousClock.now
        attaching.insert(entry.name)
        let turn = Task {
            try await Task.sleep(for: .seconds(Self.turnSeconds))
            self.turns.leave(number)
        }
        defer {
            turn.cancel()
            turns.leave(number)
            attaching.remove(entry.name)
        }
        let volume = try await open(entry)
        guard !isStopping, wanted[entry.name] == entry else {
            try? await volume.attachment.detach()
            throw VolumeError(.invalid, "\"\(entry.name)\" is not wanted any more")
        }
        do throws(VolumeError) { try await goOn(with: volume) } catch {
            try? await volume.attachment.detach()
            throw error
        }
        try await offer(volume, milliseconds: Int((ContinuousClock.now - began) / .milliseconds(1)))
        return volume
    }

    private func options(_ entry: VolumedConfiguration.VolumeEntry) -> VolumeAttachmentOptions {
        var options = VolumeAttachmentOptions(members: entry.members, hostNQN: hostNQN, hostID: .random())
        options.takesOver = entry.takesOver
        options.expected = entry.expected
        return options
    }

    /// Asks the members of a volume for what it is.
    func look(_ entry: VolumedConfiguration.VolumeEntry) async throws(VolumeError) -> Superblock {
        try await VolumeAttachment.look(options(entry), group: try await group(takePlace()))
    }

    /// How many members of a volume say the same of it.
    func membersInReach(_ entry: VolumedConfiguration.VolumeEntry) async -> Int {
        guard let group = try? await group(takePlace()) else { return 0 }
        return await VolumeAttachment.reach(options(entry), group: group)
    }

    /// Watches another daemon, at the address at which it offers volumes.
    ///
    /// - Parameter gone: told when its machine says that nobody listens there.
    func watch(_ address: SocketAddress, gone: @escaping @Sendable () -> Void) async -> PeerWatch? {
        guard let group = try? await group(takePlace()) else { return nil }
        return PeerWatch(
            address, as: HostIdentity(nqn: hostNQN, id: .random()), group: group, gone: gone)
    }

    private func open(_ entry: VolumedConfiguration.VolumeEntry) async throws(VolumeError) -> AttachedVolume {
        let place = takePlace()
        let group = try await group(place)
        var options = options(entry)
        options.queueDepth = 256
        options.keepAliveMilliseconds = keepAliveMilliseconds
        let nonce = UInt32.random(in: 1...UInt32.max)
        options.nonce = nonce
        // Another daemon may reach members that this one does not.
        options.patienceMilliseconds = successor == nil ? nil : Self.sharedPatienceMilliseconds
        options.registrations = registrations[place]
        // Memory that servers announce needs no copy: this is for the rest, and each volume has its own.
        options.bufferBytes = 16 << 20
        let history = histories[entry.name] ?? VolumeHistory()
        histories[entry.name] = history
        let observer = VolumeObserver(name: entry.name, members: entry.members, history: history, journal: journal)
        do throws(TercetError) {
            try kept.update(entry.name) { $0.trail.noteAttempt(nonce) }
            var devices = Set(kept.exports(of: entry.name).filter { $0.exportKind?.isBlockDevice ?? false }.map(\.name))
            if entry.exports.contains(where: \.isBlockDevice) { devices.insert(entry.name) }
            for name in devices { try kernel.link(name).noteAttempt(nonce) }
        } catch {
            throw VolumeError(.notAttachable, error.description)
        }
        let attachment = try await VolumeAttachment.open(options, group: group, host: reactors[place]) {
            observer.take($0)
        }
        let device = await attachment.blockDevice(share: shares[place])
        return AttachedVolume(
            entry: entry, place: place, attachment: attachment, device: device,
            offered: terms[entry.name].map { TermedDevice(device, during: $0) } ?? device)
    }

    /// Offers a volume that is attached to its clients.
    private func offer(_ volume: AttachedVolume, milliseconds: Int) async throws(VolumeError) {
        let (entry, attachment) = (volume.entry, volume.attachment)
        volume.device.change(entry.limits)
        do throws(TercetError) {
            if successor == nil { try await reexport?.add(volume.device, attachment.superblock.volume) }
            if entry.exports.contains(.nbd) {
                try exports.add(
                    Export(name: entry.name, text: volume.device.name, device: volume.offered, home: volume.place))
            }
        } catch {
            if successor == nil { await reexport?.remove(attachment.superblock.volume) }
            try? await attachment.detach()
            throw VolumeError(.notAttachable, error.description)
        }
        volumes.append(volume)
        journal.write(
            .notice, "volume attached",
            [
                "volume": "\(entry.name)", "uuid": "\(attachment.superblock.volume)",
                "bytes": "\(volume.device.geometry.byteCount)", "milliseconds": "\(milliseconds)",
            ])
        for kind in entry.exports where kind.isBlockDevice {
            do throws(TercetError) { try await export(entry.name, of: entry.name, as: kind) } catch {
                histories[entry.name]?.note("not a block device: \(error)")
                journal.write(.error, "volume cannot be a block device: \(error)", ["volume": "\(entry.name)"])
            }
        }
        await exportKept(volume)
    }

    /// The volumes that a reactor has room for: those of the configuration, and those that come later.
    private var volumesOfReactor: Int {
        (configuration.volumes.count + reactors.count - 1) / reactors.count + configuration.laterVolumes
    }

    /// The volumes that may be attached by control.
    var room: VolumeRoom {
        let own = Set(configuration.volumes.map(\.name))
        return VolumeRoom(
            most: configuration.laterVolumes * reactors.count, present: wanted.keys.count { !own.contains($0) })
    }

    /// Keep Alive Timeout towards the members: 2 s, and more with more volumes, so that idle ones do not cost a reactor more than they are
    /// worth. A member of a volume in use that does not answer is given up after five seconds in any case.
    private var keepAliveMilliseconds: UInt32 { UInt32(min(max(2000, volumesOfReactor * 40), 10_000)) }

    /// The initiator of a reactor; made when its first volume comes.
    private func group(_ place: Int) async throws(VolumeError) -> InitiatorGroup {
        if let group = groups[place] { return group }
        let group: InitiatorGroup
        do throws(TercetError) {
            group = InitiatorGroup(
                // Three members with two queues each, of 31 and 127 commands, and twice as many while they are exchanged.
                RDMAInitiator(
                    try VerbsFabric.open(), completionEntries: volumesOfReactor * 1024,
                    connections: volumesOfReactor * 12,
                    // All members of all volumes may be told something at once: to take a reservation, or to give it back.
                    controlBuffers: max(32, volumesOfReactor * 3)), keys: configuration.keys ?? .environment(),
                ring: reactors[place].ring)
        } catch {
            throw VolumeError(.notAttachable, "RDMA cannot be used: \(error)", cause: error)
        }
        groups[place] = group
        let reactor = reactors[place]
        await reactor.run { reactor.add(group) }
        return group
    }
}
