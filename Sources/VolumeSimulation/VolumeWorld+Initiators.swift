import Base
import FabricInterface
import Replication
import Simulation
import VolumeDriver

/// The initiators of a world, one after another or against each other.
extension VolumeWorld {
    func startInitiator() {
        guard mayAttach else { return startLater() }
        let process = InitiatorProcess(
            initiators.count + 1, network: network, members: targets.map(\.address), configuration: configuration,
            profile: profile)
        guard let volume = process.volume else { return }
        initiators.append(process)
        alive.append(process)
        trace { "h\(process.number) starts" }
        process.observe = { [unowned self, unowned process] in observed($0, by: process) }
        process.begin(Workload(self, process, volume), nonce: UInt32(truncatingIfNeeded: draw(1...0xFFFF_FFFF)))
        second?.attachIfFree()
    }

    private var configuration: VolumeConfiguration {
        var configuration = configuration(of: Self.volume)
        configuration.fresh = fresh
        configuration.formattedBlocks = registeredBlocks
        return configuration
    }

    /// The configuration of a volume with the world's times.
    func configuration(of volume: UUIDBytes) -> VolumeConfiguration {
        var configuration = VolumeConfiguration(volume: volume, blockSize: profile.blockSize)
        configuration.queueDepth = 16
        configuration.maximumTransfer = profile.maximumTransfer
        configuration.suspendPolicy = profile.suspendPolicy
        configuration.slowMargin = profile.slowMargin
        configuration.slowDuration = profile.slowDuration
        // A volume of real size has the times that volumes have.
        guard profile.scale == 1 else { return configuration }
        configuration.commandTimeout = 100_000_000
        configuration.attachGrace = 30_000_000
        configuration.joinTimeout = 300_000_000
        configuration.reconnectDelay = 2_000_000
        configuration.reconnectDelayMaximum = 20_000_000
        configuration.housekeepingInterval = 20_000_000
        configuration.slowCooldown = profile.slowCooldown
        configuration.releaseDelay = profile.releaseDelay
        configuration.clock = profile.clock
        return configuration
    }

    /// The process dies: crashed, or because it is done.
    func end(_ initiator: InitiatorProcess, isSilent: Bool) {
        trace { "h\(initiator.number) ends\(isSilent ? " silently" : "")" }
        collect(initiator)
        initiator.workload?.die()
        second?.ended(initiator)
        alive.removeAll { $0 === initiator }
        defer { second?.attachIfFree() }
        guard !initiator.die(isSilent: isSilent) else { return }
        fail(.leftBehind, "h\(initiator.number) does not come to its end: \(initiator.ending)")
    }

    /// Whether an initiator has served whose attachment is later than that of another.
    func isServed(after initiator: InitiatorProcess) -> Bool {
        let key = initiator.volume?.attachmentKey ?? initiator.attachmentKey
        return initiators.contains { $0.servedAt != nil && $0.attachmentKey > key }
    }

    /// The latest initiator that lives.
    var current: InitiatorProcess? { alive.last }

    /// Takes notice of members that are no longer in sync, or are again, before anything is made of it.
    func look(at initiator: InitiatorProcess) {
        guard serving === initiator, let volume = initiator.volume else { return }
        let inSync = volume.holders
        guard inSync != initiator.lastInSync else { return }
        history.left(initiator.lastInSync.subtracting(inSync))
        initiator.lastInSync = initiator.lastInSync.intersection(inSync)
        // Another attachment knows of a member that was taken into sync once the record that says so is valid.
        guard volume.engine.isRecordValid else { return }
        for member in inSync.subtracting(initiator.lastInSync) {
            history.joined(member, since: initiator.returnedAt[member.number])
        }
        initiator.lastInSync = inSync
    }

    func acknowledged() {
        guard let member = crashesAtAcknowledgement else { return }
        crashesAtAcknowledgement = nil
        network.schedule(afterNanoseconds: 0) { [unowned self] in crashAtLoss(of: member) }
    }

    func setServing(_ initiator: InitiatorProcess, _ geometry: VolumeGeometry) {
        serving = initiator
        initiator.servedAt = network.now.nanoseconds
        initiator.attachmentKey = initiator.volume?.engine.reservationKey ?? 0
        for other in alive where other !== initiator && other.deposedSnapshots == nil {
            other.deposedSnapshots = history.blocks.indices.map(history.snapshot)
        }
        isGrowing = false
        learn(geometry)
    }

    /// The volume may have grown, in this attachment or an earlier one.
    func learn(_ geometry: VolumeGeometry) {
        let blocks = profile.places.count(in: geometry.dataBlocks)
        guard blocks > history.blocks.count else { return }
        history.grow(to: blocks)
        for target in targets { watch(target, layouts[target.index]) }
    }
}
