import Base
import BlockInterface
import Logging
import NVMeSpec
import NVMeTarget
import RDMATransport
import Reactor
import TargetInterface
import VerbsFabric
import VolumeDriver

/// Offers volumes to NVMe-oF hosts, by the target that `tercetd` runs: each volume is a subsystem with one namespace. Names and
/// identifiers come from the volume's UUID, and the ANA state from what use the volume is of.
actor Reexport {
    private let target: Target
    private let reactors: [Reactor]
    /// Their NUMA nodes.
    private let nodes: [Int?]
    private var groups: [ReactorGroup] = []
    private let journal: Journal
    private let hosts = ConnectedHosts()
    /// The target as it is to be.
    private var definition: TargetDefinition
    /// The volumes that are offered, by the names of their subsystems.
    private var offers: [String: Offer] = [:]

    private struct Offer {
        /// The block device of one that other daemons offer too; `nil` for one that is this daemon's alone.
        var front: VolumeFront?
        /// The volume as far as it is served here.
        var device: VolumeBlockDevice?

        /// A host is never told that it is for good while another daemon may serve it.
        var state: ANAState {
            guard let device else { return .inaccessible }
            let state = ANAState(device.availability)
            return front != nil && state == .persistentLoss ? .inaccessible : state
        }
    }
    /// The target is being made what the definition says; these wait for their turn.
    private var isApplying = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    /// The one namespace of each subsystem, and its ANA group.
    private static let nsid: UInt32 = 1
    private static let anaGroup: UInt32 = 1

    /// - Parameters:
    ///   - nodes: the NUMA nodes of the reactors; `nil` for those that are not known.
    ///   - reservations: where those of hosts are kept for other daemons; `nil` where there are none.
    init(reactors: [Reactor], nodes: [Int?], reservations: SharedReservations?, journal: Journal) {
        let options = TargetOptions(maxNamespaces: 1)
        target = Target(
            options: options, surroundings: BareSurroundings(reservations: reservations),
            bootInstance: Target.newBootInstance(), now: .now(),
            observe: { [hosts] event in
                hosts.note(event)
                journal.write(event)
            })
        definition = TargetDefinition(options: options)
        self.reactors = reactors
        self.nodes = nodes
        self.journal = journal
    }

    /// Listens at an address. The reactors run.
    func start(at address: SocketAddress) async throws(TercetError) {
        for (reactor, node) in zip(reactors, nodes) {
            let fabric: VerbsFabric
            do throws(TercetError) { fabric = try VerbsFabric.open() } catch {
                throw TercetError(.unavailable, "RDMA cannot be used", cause: error)
            }
            let group = ReactorGroup(target, RDMATargetTransport(fabric, target.options), on: reactor, node: node)
            groups.append(group)
            await reactor.run { group.join() }
        }
        definition.listeners = [address]
        if let missing = await bringAbout().first {
            throw TercetError(.unavailable, "\(missing.part): \(missing.reason)")
        }
    }

    /// Makes the target what the definition says, one call at a time. Returns the parts that are missing.
    @discardableResult
    private func bringAbout() async -> [MissingPart] {
        while isApplying { await withCheckedContinuation { waiting.append($0) } }
        isApplying = true
        defer {
            isApplying = false
            for turn in waiting { turn.resume() }
            waiting = []
        }
        // It throws for namespaces in memory alone, and here is none.
        return (try? await target.apply(definition))?.missing ?? []
    }

    /// Offers a volume that is attached.
    func add(_ device: VolumeBlockDevice, _ volume: UUIDBytes) async throws(TercetError) {
        device.observeAvailability { [weak self] _ in Task { [weak self] in await self?.changed(NQN.uuid(volume)) } }
        try await add(Offer(device: device), device, SubsystemDefinition.allControllerIDs, volume)
    }

    /// Offers a volume that other daemons offer too. It is inaccessible until `show`.
    func add(
        _ front: VolumeFront, _ volume: UUIDBytes, controllerIDs: ClosedRange<UInt16>
    ) async throws(TercetError) { try await add(Offer(front: front), front, controllerIDs, volume) }

    private func add(
        _ offer: Offer, _ device: any BlockDevice, _ controllerIDs: ClosedRange<UInt16>, _ volume: UUIDBytes
    ) async throws(TercetError) {
        let nqn = NQN.uuid(volume)
        let digits = "\(volume)".filter { $0 != "-" }
        offers[nqn] = offer
        definition[nqn] = SubsystemDefinition(
            nqn: nqn, serialNumber: String(digits.prefix(20)), modelNumber: "Tercet volume",
            anaStates: [ANAGroupPlace(group: Self.anaGroup): offer.state], controllerIDs: controllerIDs,
            namespaces: [
                NamespaceDefinition(
                    nsid: Self.nsid, backing: .device(device), identity: device.identity, anaGroup: Self.anaGroup)
            ])
        if let missing = await bringAbout().first(where: { $0.part.subsystemNQN == nqn }) {
            throw TercetError(.unavailable, "it cannot be offered to NVMe hosts: \(missing.reason)")
        }
        await changed(nqn)
    }

    /// Serves a volume that is attached, through its front, and tells hosts to come here. Returns `false` where a reactor cannot do I/O
    /// on it: hosts have to find it elsewhere.
    ///
    /// - Parameter lost: told when another host has taken it over.
    func show(
        _ device: VolumeBlockDevice, _ volume: UUIDBytes, during term: ServingTerm, lost: @escaping @Sendable () -> Void
    ) async -> Bool {
        let nqn = NQN.uuid(volume)
        guard let front = offers[nqn]?.front else { return false }
        front.lead(to: device, during: term)
        guard await follow(front) else { return false }
        target.refreshNamespaces()
        offers[nqn]?.device = device
        device.observeAvailability { [weak self] availability in
            if availability == .fenced { lost() }
            Task { [weak self] in await self?.changed(nqn) }
        }
        if device.availability == .fenced { lost() }
        await changed(nqn)
        return true
    }

    /// Takes on the reservation of a volume's hosts, before it is shown to them.
    func takeOn(reservation: [UInt8]?, of volume: UUIDBytes) async throws(TercetError) {
        try await target.takeOn(reservation: reservation, of: Self.nsid, in: NQN.uuid(volume))
    }

    /// The NQNs of the hosts that are connected for a volume.
    func hosts(of volume: UUIDBytes) -> Set<String> { hosts.of(NQN.uuid(volume)) }

    /// Tells hosts not to come here.
    func hide(_ volume: UUIDBytes) async {
        let nqn = NQN.uuid(volume)
        offers[nqn]?.device = nil
        await changed(nqn)
    }

    /// Ends the use of a volume that hosts have been told not to come here for: what is under way has some time to end.
    func quiet(_ volume: UUIDBytes) async {
        guard let front = offers[NQN.uuid(volume)]?.front else { return }
        front.leadNowhere()
        _ = await follow(front)
    }

    /// Has the channels of all reactors go where a front leads. Returns `false` where one has not in time.
    private func follow(_ front: VolumeFront) async -> Bool {
        let end = ContinuousClock.now + .seconds(Self.quietSeconds)
        var haveAll = true
        for reactor in reactors {
            var has = await reactor.run { front.follow() }
            while !has, ContinuousClock.now < end {
                try? await Task.sleep(for: .milliseconds(1))
                has = await reactor.run { front.follow() }
            }
            haveAll = haveAll && has
        }
        return haveAll
    }

    /// I/O that waits for members has so long; the detach ends it then.
    private static let quietSeconds = 2.0

    /// Takes a volume back, and returns when no reactor uses it any more.
    func remove(_ volume: UUIDBytes) async {
        let nqn = NQN.uuid(volume)
        guard offers.removeValue(forKey: nqn) != nil else { return }
        definition[nqn] = nil
        await bringAbout()
    }

    /// Tells hosts of what use a volume is now.
    private func changed(_ nqn: String) async {
        guard let state = offers[nqn]?.state else { return }
        let place = ANAGroupPlace(group: Self.anaGroup)
        guard definition[nqn]?.anaStates[place] != state else { return }
        definition[nqn]?.anaStates[place] = state
        await bringAbout()
    }

    /// Looks for volumes that have grown.
    func refresh() { target.refreshNamespaces() }

    /// Ends all connections.
    func stop() async {
        for group in groups { await group.close() }
        groups = []
    }

    /// Lets go of what refers to each other, once no reactor polls any more.
    func close() { target.close() }
}

extension ANAState {
    /// A host is never told that it is for good while it is not.
    fileprivate init(_ availability: VolumeBlockDevice.Availability) {
        self =
            switch availability {
            case .serving: .optimized
            case .unavailable: .inaccessible
            case .fenced: .persistentLoss
            }
    }
}

extension Journal {
    /// Writes what the target tells.
    fileprivate func write(_ event: TargetEvent) {
        switch event {
        case .hostConnected(let host, let subsystem, let controller, let peer):
            write(
                .info, "NVMe host connected",
                ["host": "\(host)", "subsystem": "\(subsystem)", "controller": "\(controller)", "peer": "\(peer)"])
        case .hostDisconnected(let host, let subsystem, let controller, let reason):
            write(
                .info, "NVMe host disconnected",
                ["host": "\(host)", "subsystem": "\(subsystem)", "controller": "\(controller)", "reason": "\(reason)"])
        case .connectRefused(let host, let subsystem, let peer, let reason):
            write(
                .warning, "NVMe host refused",
                ["host": "\(host)", "subsystem": "\(subsystem)", "peer": "\(peer)", "reason": "\(reason)"])
        case .listening, .stoppedListening, .namespaceAdded, .deviceRemark: write(.info, "NVMe target: \(event)")
        default: write(.warning, "NVMe target: \(event)")
        }
    }
}
