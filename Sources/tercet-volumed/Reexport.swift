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
    private var groups: [ReactorGroup] = []
    private let journal: Journal
    /// The target as it is to be.
    private var definition: TargetDefinition
    /// The volumes that are offered, by the names of their subsystems.
    private var devices: [String: VolumeBlockDevice] = [:]
    /// The target is being made what the definition says; these wait for their turn.
    private var isApplying = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    /// The one namespace of each subsystem, and its ANA group.
    private static let nsid: UInt32 = 1
    private static let anaGroup: UInt32 = 1

    init(reactors: [Reactor], journal: Journal) {
        let options = TargetOptions(maxNamespaces: 1)
        target = Target(
            options: options, bootInstance: Target.newBootInstance(), now: .now(),
            observe: { journal.write($0) })
        definition = TargetDefinition(options: options)
        self.reactors = reactors
        self.journal = journal
    }

    /// Listens at an address. The reactors run.
    func start(at address: SocketAddress) async throws(TercetError) {
        for reactor in reactors {
            let fabric: VerbsFabric
            do throws(TercetError) { fabric = try VerbsFabric.open() } catch {
                throw TercetError(.unavailable, "RDMA cannot be used", cause: error)
            }
            let group = ReactorGroup(target, RDMATargetTransport(fabric, target.options), on: reactor)
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

    /// Offers a volume.
    func add(_ device: VolumeBlockDevice, _ volume: UUIDBytes) async throws(TercetError) {
        let nqn = NQN.uuid(volume)
        let digits = "\(volume)".filter { $0 != "-" }
        devices[nqn] = device
        definition[nqn] = SubsystemDefinition(
            nqn: nqn, serialNumber: String(digits.prefix(20)), modelNumber: "Tercet volume",
            anaStates: [ANAGroupPlace(group: Self.anaGroup): ANAState(device.availability)],
            namespaces: [
                NamespaceDefinition(
                    nsid: Self.nsid, backing: .device(device), identity: device.identity, anaGroup: Self.anaGroup)
            ])
        device.observeAvailability { [weak self] _ in Task { [weak self] in await self?.changed(nqn) } }
        if let missing = await bringAbout().first(where: { $0.part.subsystemNQN == nqn }) {
            throw TercetError(.unavailable, "it cannot be offered to NVMe hosts: \(missing.reason)")
        }
        await changed(nqn)
    }

    /// Takes a volume back, and returns when no reactor uses it any more.
    func remove(_ volume: UUIDBytes) async {
        let nqn = NQN.uuid(volume)
        guard devices.removeValue(forKey: nqn) != nil else { return }
        definition[nqn] = nil
        await bringAbout()
    }

    /// Tells hosts of what use a volume is now.
    private func changed(_ nqn: String) async {
        guard let device = devices[nqn] else { return }
        let state = ANAState(device.availability)
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
