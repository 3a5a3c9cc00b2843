import Base
import FabricInterface
import Memory
import NVMeInitiator
import NVMeSpec
import Reactor
import Replication

/// Why a volume was not created, or what is there could not be read. Says which member.
public struct VolumeCreationError: Error, CustomStringConvertible, Sendable {
    public var description: String
    public init(_ description: String) { self.description = description }
}

/// How a new volume is to be.
public struct VolumeCreation: Sendable {
    public var volume: UUIDBytes
    public var regionSize: UInt32
    /// Size in bytes; `nil` for as much as the members hold.
    public var byteCount: UInt64?
    public var fencing: FencingMode
    public var minimumCopies: Int
    /// Members that hold a volume are formatted all the same.
    public var overwrite: Bool

    public init(
        volume: UUIDBytes, regionSize: UInt32 = VolumeGeometry.defaultRegionSize, byteCount: UInt64? = nil,
        fencing: FencingMode = .reservations, minimumCopies: Int = 2, overwrite: Bool = false
    ) {
        self.volume = volume
        self.regionSize = regionSize
        self.byteCount = byteCount
        self.fencing = fencing
        self.minimumCopies = minimumCopies
        self.overwrite = overwrite
    }
}

/// What a look at a member has found.
public struct MemberSurvey: Sendable {
    /// What its superblock says, or why that is not known.
    public var superblock: Result<Superblock, VolumeCreationError>
    /// The slot of its record that is damaged beside one that is not (`Superblock.read`).
    public var damagedSlot: Int?
    /// Whoever has the volume attached, as `MemberProbe.presentHosts` finds out.
    public var presentHosts: [ReservationStatus.Registrant]
}

/// Members that are looked at, and formatted, before there is a volume to attach.
public final class MemberProbe: @unchecked Sendable {
    public let addresses: [MemberAddress]
    private let group: InitiatorGroup
    private var controllers: [Controller] = []
    private var namespaces: [NamespaceDescription] = []
    private let arena: RegisteredArena

    /// Connects to members, lets `body` work on them, and disconnects, however it ends; throws what `body` throws, and where
    /// a member cannot be reached or has no such namespace.
    ///
    /// - Parameters:
    ///   - connectTimeoutMilliseconds: `ControllerOptions.connectTimeoutMilliseconds` for each of them.
    ///   - commandTimeoutMilliseconds: time that an I/O or an admin command may take; `nil` for what is usual.
    public static func connected<Result>(
        to addresses: [MemberAddress], hostNQN: String, hostID: UUIDBytes, group: InitiatorGroup,
        connectTimeoutMilliseconds: UInt32 = 30_000, commandTimeoutMilliseconds: UInt32? = nil,
        _ body: (MemberProbe) async throws(VolumeCreationError) -> Result
    ) async throws(VolumeCreationError) -> Result {
        let probe = try await MemberProbe(
            addresses, hostNQN: hostNQN, hostID: hostID, group: group,
            connectTimeoutMilliseconds: connectTimeoutMilliseconds,
            commandTimeoutMilliseconds: commandTimeoutMilliseconds)
        let result: Result
        do throws(VolumeCreationError) {
            result = try await body(probe)
        } catch {
            await probe.close()
            throw error
        }
        await probe.close()
        return result
    }

    /// Connects to all members; throws when one cannot be reached or has no such namespace, with nothing left behind.
    private init(
        _ addresses: [MemberAddress], hostNQN: String, hostID: UUIDBytes, group: InitiatorGroup,
        connectTimeoutMilliseconds: UInt32, commandTimeoutMilliseconds: UInt32?
    ) async throws(VolumeCreationError) {
        self.addresses = addresses
        self.group = group
        do { arena = try RegisteredArena(bytes: Self.bufferByteCount) } catch {
            throw VolumeCreationError(error.description)
        }
        for (index, address) in addresses.enumerated() {
            var options = ControllerOptions(
                address: address.address, subsystemNQN: address.subsystemNQN, hostNQN: hostNQN, hostID: hostID,
                connectTimeoutMilliseconds: connectTimeoutMilliseconds, recovery: .fail)
            if let commandTimeoutMilliseconds {
                options.ioTimeoutMilliseconds = commandTimeoutMilliseconds
                options.adminTimeoutMilliseconds = commandTimeoutMilliseconds
            }
            let controller = Controller(options, home: group, groups: [group])
            do throws(InitiatorError) {
                try await controller.connect()
            } catch {
                await close()
                throw VolumeCreationError("member \(index) (\(address)): \(error)")
            }
            controllers.append(controller)
            guard let namespace = controller.namespaces.first(where: { $0.nsid == address.nsid }),
                namespace.problem == nil
            else {
                await close()
                throw VolumeCreationError(
                    "member \(index) (\(address)): the subsystem shows this host no usable namespace \(address.nsid)")
            }
            namespaces.append(namespace)
        }
    }

    private static let bufferByteCount = 1 << 20
    /// A volume can do without a member that takes longer for one step.
    public static let surveyStepMilliseconds: UInt32 = 3000
    /// Zeroed with one operation, which is several commands at a time.
    private static let zeroedAtOnce: UInt64 = 256 << 20

    /// Looks at members, as far as they can be reached; without fencing, and without writing.
    ///
    /// - Parameters:
    ///   - formattedBytes: the size that namespaces had which have been resized since; 0 for none.
    ///   - stepMilliseconds: the time for each step with a member: a connection, a Connect, a command.
    public static func survey(
        _ members: [MemberAddress], hostNQN: String, hostID: UUIDBytes, group: InitiatorGroup,
        formattedBytes: UInt64 = 0, stepMilliseconds: UInt32 = surveyStepMilliseconds
    ) async -> [MemberSurvey] {
        var found: [MemberSurvey] = []
        for (index, address) in members.enumerated() {
            do throws(VolumeCreationError) {
                found.append(
                    try await connected(
                        to: [address], hostNQN: hostNQN, hostID: hostID, group: group,
                        connectTimeoutMilliseconds: stepMilliseconds, commandTimeoutMilliseconds: stepMilliseconds
                    ) {
                        probe throws(VolumeCreationError) in
                        let record = try await probe.record(
                            of: 0, as: MemberIndex(index), formattedBytes: formattedBytes
                        )
                        .flatMap { found in probe.checked(found, as: MemberIndex(index)) }
                        return MemberSurvey(
                            superblock: record.map(\.superblock).mapError { VolumeCreationError("\(address): \($0)") },
                            damagedSlot: (try? record.get())?.damagedSlot,
                            presentHosts: await probe.presentHosts(of: 0))
                    })
            } catch {
                found.append(
                    MemberSurvey(
                        superblock: .failure(VolumeCreationError("member \(index): \(error)")), presentHosts: []))
            }
        }
        return found
    }

    /// What a superblock says of sizes, checked against the only namespace that was looked at, the member `index`.
    private func checked(_ found: FoundRecord, as index: MemberIndex) -> Result<FoundRecord, MetadataError> {
        do throws(MetadataError) {
            try found.superblock.validateSizes(as: index, blockSize: blockSize(of: 0), memberBlocks: blocks(of: 0))
            return .success(found)
        } catch {
            return .failure(error)
        }
    }

    /// Hosts that are registered with a member's namespace and connected to it: whoever has its volume attached. None where
    /// the target knows no reservations, or does not say which registrants are connected.
    public func presentHosts(of member: MemberIndex) async -> [ReservationStatus.Registrant] {
        let report = try? await controllers[member].reservationReport(nsid: addresses[member].nsid)
        return report?.registrants.filter { $0.controllerID != ReservationStatus.Registrant.anyController } ?? []
    }

    /// Disconnects.
    private func close() async {
        for controller in controllers { await controller.close() }
        controllers = []
    }

    /// The members that are connected, in order.
    private var places: [MemberIndex] { addresses.indices.map { MemberIndex($0) } }

    public func blockSize(of member: MemberIndex) -> UInt32 { UInt32(namespaces[member].blockSize) }

    public func blocks(of member: MemberIndex) -> UInt64 { namespaces[member].blockCount }

    /// The superblock of a member, read without fencing: for status, and to see what a namespace holds.
    public func superblock(
        of member: MemberIndex
    ) async throws(VolumeCreationError) -> Result<Superblock, MetadataError> {
        try await record(of: member, as: member, blocks: namespaces[member].blockCount).map(\.superblock)
    }

    private typealias FoundRecord = (superblock: Superblock, damagedSlot: Int?)

    /// The record of a member, which is called `name` where something is wrong with it. Where the namespace's end has none,
    /// that of a namespace of `formattedBytes` is looked at, unless they are 0.
    private func record(
        of member: MemberIndex, as name: MemberIndex, formattedBytes: UInt64
    ) async throws(VolumeCreationError) -> Result<FoundRecord, MetadataError> {
        let found = try await record(of: member, as: name, blocks: namespaces[member].blockCount)
        let formatted = formattedBytes / UInt64(blockSize(of: member))
        guard case .failure = found, formatted > 0, formatted < namespaces[member].blockCount else { return found }
        return try await record(of: member, as: name, blocks: formatted)
    }

    private func record(
        of member: MemberIndex, as name: MemberIndex, blocks: UInt64
    ) async throws(VolumeCreationError) -> Result<FoundRecord, MetadataError> {
        let blockSize = blockSize(of: member)
        let pageSize = max(4096, Int(blockSize))
        guard let start = MemberLayout.slotBlock(0, memberBlocks: blocks, blockSize: blockSize) else {
            return .failure(.tooSmall(member: name, found: blocks, needed: 6 * UInt64(pageSize) / UInt64(blockSize)))
        }
        let count = UInt64(2 * pageSize) / UInt64(blockSize)
        try await transfer(.read, member, start: start, count: count)
        do throws(MetadataError) {
            let pages = UnsafeRawBufferPointer(rebasing: arena.memory[..<(2 * pageSize)])
            return .success(
                try Superblock.read(
                    member: name, slot0: UnsafeRawBufferPointer(rebasing: pages[..<pageSize]),
                    slot1: UnsafeRawBufferPointer(rebasing: pages[pageSize...])))
        } catch {
            return .failure(error)
        }
    }

    /// Formats the members as a new volume: the data of all is zeroed, so that the members are equal, then the metadata is
    /// written. Nothing is written when a member does not fit, or holds a volume already.
    ///
    /// - Parameter progress: called with a share from 0 to 1.
    public func create(
        _ creation: VolumeCreation, progress: @Sendable (Double) -> Void
    ) async throws(VolumeCreationError) -> VolumeGeometry {
        var candidates: [MemberCandidate] = []
        for index in places {
            guard creation.fencing == .none || !namespaces[index].identify.reservations.isEmpty else {
                throw VolumeCreationError(
                    "member \(index) (\(addresses[index])): its target knows no reservations, so that nothing stops a "
                        + "second writer; ask for fencing none if that is to be so")
            }
            let held = try? await superblock(of: index).get()
            candidates.append(
                MemberCandidate(
                    uuid: identity(index), blockSize: blockSize(of: index), blocks: namespaces[index].blockCount,
                    heldVolume: held?.volume))
        }
        let format: VolumeFormat
        do throws(MetadataError) {
            format = try VolumeFormat(
                volume: creation.volume, members: candidates, regionSize: creation.regionSize,
                dataBlocks: creation.byteCount.map { $0 / UInt64(blockSize(of: 0)) }, fencing: creation.fencing,
                minimumCopies: creation.minimumCopies, overwrite: creation.overwrite)
        } catch {
            throw VolumeCreationError(error.description)
        }
        let total = Double(format.geometry.dataBlocks) * Double(addresses.count)
        var done = 0.0
        for member in places {
            try await takeOver(member)
            var block: UInt64 = 0
            while block < format.geometry.dataBlocks {
                let count = min(format.geometry.dataBlocks - block, Self.zeroedAtOnce / UInt64(blockSize(of: member)))
                try await transfer(.writeZeroes, member, start: block, count: count)
                block += count
                done += Double(count)
                progress(done / total)
            }
            for page in 0..<format.pageCount {
                let buffer = UnsafeMutableRawBufferPointer(rebasing: arena.memory[..<format.geometry.pageSize])
                let start = format.encode(page: page, member: member, into: buffer)
                try await transfer(.write, member, start: start, count: format.geometry.blocksPerPage)
            }
            try await transfer(.flush, member, start: 0, count: 0)
            await release(member)
        }
        return format.geometry
    }

    /// Wipes the superblocks: the namespaces are members of nothing afterwards; their data stays.
    public func destroy() async throws(VolumeCreationError) {
        for member in places {
            try await takeOver(member)
            let blockSize = blockSize(of: member)
            let pageBlocks = UInt64(max(4096, blockSize) / blockSize)
            for slot in 0..<MemberLayout.slotCount {
                guard
                    let start = MemberLayout.slotBlock(
                        slot, memberBlocks: namespaces[member].blockCount, blockSize: blockSize)
                else { continue }
                try await transfer(.writeZeroes, member, start: start, count: pageBlocks)
            }
            try await transfer(.flush, member, start: 0, count: 0)
            await release(member)
        }
    }

    /// Keeps everybody else out of a member before it is written, also an earlier host whose reservation was left: its
    /// commands have ended when this returns. A target without reservations is written as it is.
    private func takeOver(_ member: MemberIndex) async throws(VolumeCreationError) {
        let (controller, nsid) = (controllers[member], addresses[member].nsid)
        guard let report = try? await controller.reservationReport(nsid: nsid), !report.registrants.isEmpty else {
            return
        }
        do throws(InitiatorError) {
            try await controller.registerReservation(
                nsid: nsid, ReservationRegisterCommand(.register, ignoresExistingKey: true), currentKey: 0,
                newKey: Self.key)
            // The holder first: with its registration goes its reservation.
            for registrant in report.registrants.sorted(by: { $0.holdsReservation && !$1.holdsReservation }) {
                try await controller.acquireReservation(
                    nsid: nsid, ReservationAcquireCommand(.preemptAndAbort, type: .writeExclusiveRegistrantsOnly),
                    currentKey: Self.key, preemptKey: registrant.key)
            }
        } catch {
            throw VolumeCreationError("member \(member) (\(addresses[member])): another host has it reserved: \(error)")
        }
    }

    /// Gives up what `takeOver` took.
    private func release(_ member: MemberIndex) async {
        // Where nothing was registered there is nothing to clear, and the refusal says just that.
        try? await controllers[member].releaseReservation(
            nsid: addresses[member].nsid, ReservationReleaseCommand(.clear, type: nil), currentKey: Self.key)
    }

    /// The key of this short-lived registration; attachments have an epoch in its upper half.
    private static let key: UInt64 = 1

    /// What the namespace is known by: its UUID, NGUID or EUI-64, else its place.
    public func identity(_ member: MemberIndex) -> UUIDBytes {
        let found = namespaces[member].descriptors
        return found?.uuid ?? found?.nguid ?? UUIDBytes(high: found?.eui64 ?? 0, low: UInt64(member.number) + 1)
    }

    private func transfer(
        _ kind: IOKind, _ member: MemberIndex, start: UInt64, count: UInt64
    ) async throws(VolumeCreationError) {
        let queue = controllers[member].queues[0]
        let length = Int(count) * Int(blockSize(of: member))
        let arena = arena
        let region = await group.run { () -> MemoryRegion? in
            guard let context = queue.context else { return nil }
            return try? arena.register(with: context, access: kind == .read ? .incoming : .outgoing)
        }
        guard let region, let base = arena.memory.baseAddress else {
            throw VolumeCreationError("member \(member) (\(addresses[member])): the connection was lost")
        }
        let usesData = kind == .read || kind == .write
        let completion = await queue.perform(
            IOOperation(
                kind, namespace: namespaces[member].index, startingLBA: start, blockCount: count,
                data: usesData
                    ? IOSegment(address: base, length: length, localKey: region.localKey, remoteKey: region.remoteKey)
                    : nil,
                // What is thin stays thin.
                flags: kind == .writeZeroes ? .mayDeallocate : []))
        guard completion.isSuccess else {
            throw VolumeCreationError(
                "member \(member) (\(addresses[member])): \(kind) of \(count) blocks at \(start) failed: "
                    + (completion.outcome == .surelyDone ? "\(completion.status)" : "\(completion.failure)"))
        }
    }
}
