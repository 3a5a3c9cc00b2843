import Base
import ControllerCalls
import NVMeInitiator
import Replication
import VolumeDriver
import VolumeRegistry

/// A volume that is to be made in three pools of a registry.
struct PooledMaking {
    var name: String
    /// At least so many bytes, and at most so many.
    var leastBytes: UInt64
    var mostBytes: UInt64 = .max
    var creation: VolumeCreation
    var spread = PoolSpread.required
    /// The pools to choose from; `nil` for all.
    var pools: Set<String>?
    var domains = VolumeDomains()
    var labels: [String: String] = [:]
    var hostNQN: String?
    var patience: Patience

    /// Makes the namespaces, and the volume of them. The registry has it as being created before the first step, and as ready at the
    /// end; where a step fails, everything is undone that can be.
    func make(
        in list: any Registry, _ group: InitiatorGroup, progress: @Sendable (Double) -> Void = { _ in }
    ) async throws(TercetError) -> (registration: Registration, geometry: VolumeGeometry) {
        let host = HostIdentity(nqn: hostNQN, id: .random())
        let open = try await OpenPools.open(
            pools, in: list, as: host, group, milliseconds: min(patience.milliseconds, 3000))
        do throws(TercetError) {
            let made = try await make(in: list, open, group, progress)
            await open.close()
            return made
        } catch {
            await open.close()
            throw error
        }
    }

    private func make(
        in list: any Registry, _ open: OpenPools, _ group: InitiatorGroup, _ progress: @Sendable (Double) -> Void
    ) async throws(TercetError) -> (registration: Registration, geometry: VolumeGeometry) {
        let (chosen, size) = try choose(open)
        let registration = try await Registration.make(newEntry(chosen, open), in: list)
        let volume = PooledVolume(registration, hostNQN: hostNQN, patience: patience, group)
        var creation = creation
        creation.byteCount = size.volumeBytes
        do throws(TercetError) {
            try await volume.makeNamespaces(open, blockCount: size.memberBlocks)
            let made = ChosenVolume(registration, hostNQN: hostNQN, patience: patience)
            let geometry = try await made.probe(group) { [creation] probe throws(TercetError) in
                try await probe.create(creation, progress: progress)
            }
            try await registration.change { entry in
                entry.size = geometry.byteCount
                entry.state = .ready
                entry.operation = nil
            }
            return (registration, geometry)
        } catch {
            do throws(TercetError) { try await volume.remove() } catch let remains {
                throw TercetError(
                    error.code,
                    "\(error); something of it may be left (\(remains)): tercet registry check removes it")
            }
            throw error
        }
    }

    private func choose(_ open: OpenPools) throws(TercetError) -> ([PoolOffer], PooledSize) {
        func size(_ blockSize: UInt32) -> PooledSize? {
            PooledSize(bytes: leastBytes, blockSize: blockSize, regionSize: creation.regionSize)
        }
        let offers = open.offers(in: domains.allowed)
        let choice = PoolChoice(offers, spread, preferring: domains.preferred)
        let chosen = choice.pools { blockSize in
            guard let size = size(blockSize), size.volumeBytes <= mostBytes else { return nil }
            return size.memberBlocks * UInt64(blockSize)
        }
        if let chosen, let size = size(chosen[0].blockSize) { return (chosen, size) }
        guard
            offers.isEmpty
                || offers.contains(where: { (size($0.blockSize)?.volumeBytes ?? .max) <= mostBytes })
        else {
            throw TercetError(
                .invalid,
                "volume \(name): no volume has at least \(leastBytes) and at most \(mostBytes) bytes in blocks of these pools"
            )
        }
        let places = spread == .required ? "three failure domains" : "three pools"
        let most =
            PoolChoice(offers, spread).largest.map { ByteSize.format($0.bytes) + " at most" }
            ?? "none for all three members"
        throw TercetError(
            .exhausted,
            "volume \(name): \(places) with room for \(leastBytes) bytes and metadata are needed; of \(offers.count) pools that "
                + "can be used\(domains.allowed.isEmpty ? "" : " in \(domains.allowed.sorted().joined(separator: ", "))"), three have \(most)\(open.troubles)"
        )
    }

    private func newEntry(_ chosen: [PoolOffer], _ open: OpenPools) throws(TercetError) -> VolumeEntry {
        var members: [VolumeEntry.Member] = []
        for offer in chosen {
            let connection = try open.connection(offer.name)
            let address = MemberAddress(address: connection.address, subsystemNQN: connection.subsystemNQN, nsid: 0)
            members.append(VolumeEntry.Member(address, identity: .random(), pool: offer.name))
        }
        var entry = VolumeEntry(
            name: name, uuid: creation.volume, state: .creating, members: members, regionSize: creation.regionSize,
            fencing: creation.fencing == .none ? .none : .reservations, minimumCopies: creation.minimumCopies)
        entry.operation = VolumeOperation(.create)
        entry.labels = labels
        return entry
    }
}
