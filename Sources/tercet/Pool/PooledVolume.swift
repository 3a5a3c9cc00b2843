import Base
import NVMeInitiator
import Replication
import VolumeDriver
import VolumeRegistry

/// A volume whose namespaces lie in pools: they are made for it, and deleted with it.
struct PooledVolume {
    let registration: Registration
    let chosen: ChosenVolume
    let group: InitiatorGroup
    private var entry: VolumeEntry { registration.entry }

    init(_ registration: Registration, hostNQN: String?, patience: Patience, _ group: InitiatorGroup) {
        self.registration = registration
        chosen = ChosenVolume(registration, hostNQN: hostNQN, patience: patience)
        self.group = group
    }

    /// A namespace of the volume in a pool.
    private struct Part: Sendable {
        var place: Int
        var uuid: UUIDBytes
        var nsid: UInt32
        var connection: PoolConnection
    }

    private func parts(_ pools: OpenPools) throws(TercetError) -> [Part] {
        var parts: [Part] = []
        for (place, member) in entry.members.enumerated() {
            guard let pool = member.pool, let uuid = member.identity else { continue }
            parts.append(
                Part(place: place, uuid: uuid, nsid: member.address.nsid, connection: try pools.connection(pool)))
        }
        return parts
    }

    /// Lets `body` use pools: those of the volume's members, if nothing else is said.
    func withPools<Result>(
        _ names: Set<String>? = nil, _ body: (OpenPools) async throws(TercetError) -> Result
    ) async throws(TercetError) -> Result {
        let pools = try await OpenPools.open(
            names ?? Set(entry.members.compactMap(\.pool)), in: registration.registry, as: chosen.host, group,
            milliseconds: min(chosen.patience.milliseconds, 30_000))
        do throws(TercetError) {
            let result = try await body(pools)
            await pools.close()
            return result
        } catch {
            await pools.close()
            throw error
        }
    }

    /// Does the same with all parts at a time; what is thrown first is the failure, when all have ended.
    private func each<Result: Sendable>(
        _ pools: OpenPools, _ body: @escaping @Sendable (Part) async throws(TercetError) -> Result
    ) async throws(TercetError) -> [Int: Result] {
        let parts = try parts(pools)
        let results = await withTaskGroup(of: (Int, Swift.Result<Result, TercetError>).self) { tasks in
            for part in parts {
                tasks.addTask {
                    do throws(TercetError) { return (part.place, .success(try await body(part))) } catch {
                        return (part.place, .failure(error))
                    }
                }
            }
            var results: [(Int, Swift.Result<Result, TercetError>)] = []
            for await result in tasks { results.append(result) }
            return results
        }
        var values: [Int: Result] = [:]
        for (place, result) in results { values[place] = try result.get() }
        return values
    }

    // MARK: Steps

    /// Makes the namespaces, and enters their addresses. The entry has their UUIDs already.
    func makeNamespaces(_ pools: OpenPools, blockCount: UInt64) async throws(TercetError) {
        let made = try await each(pools) { part throws(TercetError) in
            let nsid = try await part.connection.make(part.uuid, blockCount: blockCount)
            return (nsid, part.connection.address)
        }
        try await registration.change { entry in
            for (place, (nsid, address)) in made {
                entry.members[place].address.nsid = nsid
                entry.members[place].address.address = address
            }
        }
    }

    /// Deletes the namespaces of former members, and forgets them. Nothing is left of one whose pool is no longer in the registry. The
    /// volume has three copies without them.
    func removeReplaced() async throws(TercetError) -> String {
        let former = entry.replaced
        try await withPools(Set(former.compactMap(\.pool))) { pools throws(TercetError) in
            for member in former {
                guard let name = member.pool, let uuid = member.identity, pools.registered[name] != nil else {
                    continue
                }
                do throws(TercetError) {
                    try await pools.connection(name).delete(uuid, hint: member.address.nsid)
                } catch {
                    throw TercetError(
                        error.code,
                        "volume \(entry.name): the former member \(member.address) (\(uuid)) is left: \(error)")
                }
            }
        }
        try await registration.change { $0.replaced = [] }
        return "what former members had in pools is deleted"
    }

    /// Deletes the namespaces that are there, by their UUIDs, and then the entry.
    func remove() async throws(TercetError) {
        if !entry.replaced.isEmpty { _ = try await removeReplaced() }
        try await withPools { pools throws(TercetError) in
            _ = try await each(pools) { part throws(TercetError) in
                try await part.connection.delete(part.uuid, hint: part.nsid)
            }
        }
        try await registration.remove()
    }

    /// Deletes the namespaces of a volume that nobody has attached.
    ///
    /// - Parameter takeOver: whether a host that has it attached is no obstacle.
    func destroy(_ takeOver: TakeOver) async throws(TercetError) {
        let others = entry.members.filter { $0.pool == nil }.map(\.address)
        if entry.state == .ready {
            try await chosen.probe(group) { probe throws(TercetError) in try await takeOver.check(probe) }
        }
        // A check has taken it over already.
        if entry.operation?.worker != .current {
            try await registration.begin(VolumeOperation(.destroy), state: .deleting, takesOver: true)
        }
        if !others.isEmpty {
            try await chosen.probe(group, at: others) { probe throws(TercetError) in try await probe.destroy() }
        }
        try await remove()
    }

    /// Lets the namespaces grow, and then the volume, to at least so many bytes. A growth that was interrupted goes on.
    func grow(
        to bytes: UInt64, _ takeOver: TakeOver, _ session: Session
    ) async throws -> (old: VolumeGeometry, new: VolumeGeometry) {
        let sizes = try await growNamespaces(to: bytes)
        var volume = chosen
        volume.oldSize = ByteCount(Int(clamping: sizes.before))
        if entry.operation?.kind == .grow {
            _ = try await Settlement(volume: volume, registration: registration, group: group).settleGrowth()
        }
        return try await VolumeGrowth(bytes: sizes.volumeBytes).run(volume, takeOver, session)
    }

    /// - Returns: the size that namespaces had before, as the volume's size tells it, and the size that the volume is to have.
    private func growNamespaces(to bytes: UInt64) async throws(TercetError) -> (before: UInt64, volumeBytes: UInt64) {
        let (regionSize, size) = (entry.regionSize, entry.size ?? 0)
        return try await withPools { pools throws(TercetError) in
            let blockSizes = Set(entry.members.compactMap { $0.pool.flatMap { pools.facts($0)?.blockSize } })
            guard let blockSize = blockSizes.first, blockSizes.count == 1,
                let wanted = PooledSize(bytes: bytes, blockSize: blockSize, regionSize: regionSize),
                let present = PooledSize(bytes: size, blockSize: blockSize, regionSize: regionSize)
            else { throw TercetError(.invalid, "volume \(entry.name): cannot have \(bytes) bytes in its pools") }
            _ = try await each(pools) { part throws(TercetError) in
                try await part.connection.grow(part.uuid, hint: part.nsid, blockCount: wanted.memberBlocks)
            }
            return (present.memberBlocks * UInt64(blockSize), wanted.volumeBytes)
        }
    }

    /// Nothing was ever written to the volume, as far as its members can be read.
    func isBlank() async -> Bool {
        let records = await chosen.survey(group).compactMap { try? $0.superblock.get() }
        return records.max { $0.stamp < $1.stamp }?.contents == .blank
    }

    // MARK: After a death

    /// Finishes a creation whose volume is complete, and removes any other; returns what was done.
    func settleCreation() async throws(TercetError) -> String {
        if entry.members.allSatisfy({ $0.address.nsid > 0 }) {
            let records = await chosen.survey(group).compactMap { try? $0.superblock.get() }
            if records.count == entry.members.count, records.allSatisfy({ $0.volume == entry.uuid }) {
                try await chosen.probe(group) { probe throws(TercetError) in
                    try await probe.clearAbandonedReservations()
                }
                try await registration.change { entry in
                    entry.size = records[0].geometry.byteCount
                    entry.state = .ready
                    entry.operation = nil
                }
                return "its creation was complete; it is ready"
            }
        }
        try await remove()
        return "its creation was not complete; nothing of it is left"
    }

    func settleEnd() async throws(TercetError) -> String {
        try await destroy(.none)
        return "its end was not complete; nothing of it is left"
    }
}

/// The sizes of a volume in pools, and of its namespaces.
struct PooledSize {
    /// Blocks of a namespace.
    var memberBlocks: UInt64
    var volumeBytes: UInt64

    /// A volume of at least so many bytes; `nil` where there is none.
    init?(bytes: UInt64, blockSize: UInt32, regionSize: UInt32) {
        let size = UInt64(blockSize)
        let (rounded, overflow) = bytes.addingReportingOverflow(size - 1)
        guard !overflow,
            let memberBlocks = MemberLayout.memberBlocks(
                forVolume: rounded / size, blockSize: blockSize, regionSize: regionSize)
        else { return nil }
        self.memberBlocks = memberBlocks
        volumeBytes = rounded / size * size
    }

    /// Bytes of the largest volume whose members have so many; `nil` where there is none.
    static func largest(in memberBytes: UInt64, blockSize: UInt32, regionSize: UInt32) -> UInt64? {
        MemberLayout.largestVolume(
            memberBlocks: memberBytes / UInt64(blockSize), blockSize: blockSize, regionSize: regionSize
        ).map { $0 * UInt64(blockSize) }
    }
}

extension VolumeEntry {
    /// Namespaces of the volume, or of former members, were made for it, in pools.
    var isPooled: Bool { members.contains { $0.pool != nil } || !replaced.isEmpty }
}
