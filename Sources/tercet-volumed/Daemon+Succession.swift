import Base
import ControlPlane
import Foundation
import Logging
import RegistryBackend
import Replication
import VolumeDriver
import VolumeRegistry
import VolumedConfiguration

/// Volumes that are shared with other daemons: offered always, and attached while this daemon owns them.
extension Daemon {
    /// Between two attempts to learn from the members what a volume is.
    private static let lookSeconds = 2.0
    /// How long the detach of a volume that cannot be used may go on without coming any further.
    private static let stalledPatienceMilliseconds: UInt64 = 1000

    /// Offers the volumes, and takes part in their succession. Returns when each has been looked at once.
    func beginSuccession(_ settings: SuccessionSettings) async throws(VolumeError) {
        let made: Successor
        do {
            let place = configuration.registry ?? ProcessInfo.processInfo.environment[RegistryBackend.variable] ?? ""
            let registry = try await RegistryBackend.open(
                place, milliseconds: Successor.callMilliseconds(settings))
            made = Successor(
                settings, registry, daemon: self, at: configuration.nvmeAddress, journal: journal)
            try await made.begin()
        } catch {
            throw VolumeError(.notAttachable, "\(error)")
        }
        successor = made
        sharedReservations?.begin { [weak made] subsystem, reservation in
            guard let made else { return "the daemon ends" }
            return await made.keep(reservation, ofHostsAt: subsystem)
        }
        await withTaskGroup(of: Void.self) { tasks in
            for entry in configuration.volumes {
                wanted[entry.name] = entry
                histories[entry.name] = VolumeHistory()
                tasks.addTask { await self.offerShared(entry, settings, made) }
            }
        }
    }

    /// Offers a volume, now or as soon as its members say what it is.
    private func offerShared(
        _ entry: VolumedConfiguration.VolumeEntry, _ settings: SuccessionSettings, _ successor: Successor
    ) async {
        do throws(VolumeError) {
            let superblock = try await look(entry)
            do throws(TercetError) {
                try await reexport?.add(
                    VolumeFront(superblock), superblock.volume, controllerIDs: settings.controllerIDs)
            } catch {
                throw VolumeError(.notAttachable, error.description)
            }
            journal.write(
                .notice, "volume offered, and inaccessible until this daemon owns it",
                ["volume": "\(entry.name)", "uuid": "\(superblock.volume)"])
            await successor.add(entry.name, superblock.volume)
        } catch {
            tell(entry, error.message, isRepeated: true)
            Task {
                try? await Task.sleep(for: .seconds(Self.lookSeconds))
                guard !self.isStopping else { return }
                await self.offerShared(entry, settings, successor)
            }
        }
    }

    // MARK: What the succession orders

    /// Attaches a volume.
    ///
    /// - Parameters:
    ///   - present: the volume as the registry has it; `nil` where that is not known.
    ///   - takesOver: a host that has it attached is fenced.
    ///   - term: how long the volume is this daemon's.
    func attachOwned(
        _ name: String, _ present: VolumedConfiguration.VolumeEntry?, takesOver: Bool, during term: ServingTerm
    ) async -> Bool {
        terms[name] = term
        guard var entry = wanted[name], !isStopping else { return false }
        if let present { (entry.members, entry.expected) = (present.members, present.expected) }
        entry.takesOver = takesOver
        wanted[name] = entry
        let number = turns.join(name)
        guard await hasTurn(entry, number) else { return false }
        do throws(VolumeError) {
            _ = try await attach(entry, number)
            refusals[name] = nil
            return true
        } catch {
            // A host that has taken the volume over may have it for long.
            if refusals.updateValue(error.message, forKey: name) != error.message {
                tell(entry, error.message, isRepeated: true)
            }
            return false
        }
    }

    /// Takes on the reservation of a volume's hosts, before they come.
    func takeOnOwned(_ reservation: [UInt8]?, of volume: UUIDBytes) async throws(TercetError) {
        try await reexport?.takeOn(reservation: reservation, of: volume)
    }

    /// Has hosts come here. Returns `false` where the volume cannot be served.
    ///
    /// - Parameters:
    ///   - term: how long the volume is this daemon's.
    ///   - lost: told when another host has taken the volume over.
    func showOwned(_ name: String, during term: ServingTerm, lost: @escaping @Sendable () -> Void) async -> Bool {
        guard let volume = volumes.first(where: { $0.entry.name == name }), let reexport else { return false }
        let device = volume.device
        // The device keeps the observer: one that kept the device would keep both, and all memory of the volume.
        return await reexport.show(device, volume.attachment.superblock.volume, during: term) {
            [weak self, weak device] in
            Task { [weak self, weak device] in
                // One that was attached before has nothing to say.
                guard let device, await self?.isAttached(name, device) == true else { return }
                lost()
            }
        }
    }

    private func isAttached(_ name: String, _ device: VolumeBlockDevice) -> Bool {
        volumes.contains { $0.entry.name == name && $0.device === device }
    }

    /// Has the members of a volume flush while hosts still use it: they wait for the detach that follows.
    func prepareToDetachOwned(_ name: String) async {
        guard let volume = volumes.first(where: { $0.entry.name == name }),
            volume.device.availability == .serving
        else { return }
        await volume.attachment.prepareDetach()
    }

    /// Has hosts go elsewhere.
    func hideOwned(_ name: String) async {
        guard let volume = volumes.first(where: { $0.entry.name == name }) else { return }
        await reexport?.hide(volume.attachment.superblock.volume)
    }

    /// Lets what is under way end, and detaches a volume that is hidden. One whose members are away is let go soon: others wait for it.
    ///
    /// - Parameter isPassed: it goes to another daemon, which attaches it at once.
    func detachOwned(_ name: String, isPassed: Bool) async {
        guard let place = volumes.firstIndex(where: { $0.entry.name == name }) else { return }
        let volume = volumes.remove(at: place)
        await reexport?.quiet(volume.attachment.superblock.volume)
        await takeBack(volume)
        let isStalled = volume.device.availability == .unavailable
        _ = await detach(
            volume,
            patienceMilliseconds: isStalled
                ? Self.stalledPatienceMilliseconds : VolumeAttachment.detachPatienceMilliseconds,
            leavesReservations: isPassed)
    }

    /// Whether the volume could be served here: enough of its members answer.
    func reaches(_ name: String) async -> Bool {
        guard let entry = wanted[name], !isStopping else { return false }
        return await membersInReach(entry) >= 2
    }

    /// The hosts that are connected for a volume, by their NQNs.
    func hosts(of volume: UUIDBytes) async -> Set<String> { await reexport?.hosts(of: volume) ?? [] }

    /// How many I/Os of its users an attached volume has ended.
    func uses(_ name: String) async -> UInt64 {
        guard let volume = volumes.first(where: { $0.entry.name == name }) else { return 0 }
        return await volume.attachment.volume.currentLoad().ended
    }

    func noteOwned(_ name: String, _ text: String) { histories[name]?.note("volume: \(text)", isPhase: true) }

    /// Attached volumes of which too few members can be reached.
    func stalledVolumes() -> Set<String> {
        Set(volumes.filter { $0.device.availability == .unavailable }.map(\.entry.name))
    }

    // MARK: Operators

    func handOverVolume(_ given: VolumeHandOver) async throws(TercetError) -> VolumeHandOver {
        guard let successor else {
            throw TercetError(
                .invalid, "this daemon shares no volumes with others; see \"succession\" in its configuration")
        }
        let (other, milliseconds) = try await successor.handOver(given.name, to: given.successor)
        return VolumeHandOver(name: given.name, successor: other, milliseconds: milliseconds)
    }

    func ownership(_ name: String) async -> VolumeOwnership? {
        guard let report = await successor?.ownership(name) else { return nil }
        return VolumeOwnership(
            daemon: report.daemon, role: report.role, owner: report.owner,
            since: report.owner == nil ? nil : report.since.formatted(.iso8601),
            leaseEnd: report.leaseEnd?.formatted(.iso8601), standbys: report.standbys)
    }
}
