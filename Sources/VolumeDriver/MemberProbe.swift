import Base
import FabricInterface
import InitiatorTransport
import Memory
import NVMeInitiator
import NVMeSpec
import RDMATransport
import Reactor
import Replication

/// Members that are looked at, and formatted, before there is a volume to attach.
public final class MemberProbe: @unchecked Sendable {
    // Unchecked: one task at a time uses a probe, and its tasks run on the group's thread.
    public let addresses: [MemberAddress]
    private let names: [MemberIndex]
    private let group: InitiatorGroup
    private var controllers: [Controller] = []
    private var namespaces: [NamespaceDescription] = []
    private let arena: RegisteredArena

    /// Connects to members, lets `body` work on them, and disconnects, however it ends; throws what `body` throws, and where
    /// a member cannot be reached or has no such namespace.
    ///
    /// - Parameters:
    ///   - connectTimeoutMilliseconds: `ControllerOptions.connectTimeoutMilliseconds` for each of them.
    ///   - names: what the members are called in messages; `nil` for their places in `addresses`.
    ///   - commandTimeoutMilliseconds: time that an I/O or an admin command may take; `nil` for what is usual.
    public static func connected<Result>(
        to addresses: [MemberAddress], names: [MemberIndex]? = nil, hostNQN: String, hostID: UUIDBytes,
        group: InitiatorGroup,
        connectTimeoutMilliseconds: UInt32 = 30_000, commandTimeoutMilliseconds: UInt32? = nil,
        _ body: (MemberProbe) async throws(TercetError) -> Result
    ) async throws(TercetError) -> Result {
        let probe = try await MemberProbe(
            addresses, names: names ?? addresses.indices.map { MemberIndex($0) }, hostNQN: hostNQN, hostID: hostID,
            group: group,
            connectTimeoutMilliseconds: connectTimeoutMilliseconds,
            commandTimeoutMilliseconds: commandTimeoutMilliseconds)
        let result: Result
        do throws(TercetError) {
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
        _ addresses: [MemberAddress], names: [MemberIndex], hostNQN: String, hostID: UUIDBytes, group: InitiatorGroup,
        connectTimeoutMilliseconds: UInt32, commandTimeoutMilliseconds: UInt32?
    ) async throws(TercetError) {
        self.addresses = addresses
        self.names = names
        self.group = group
        arena = try RegisteredArena(bytes: Self.bufferByteCount)
        for (index, address) in addresses.enumerated() {
            var options = ControllerOptions(
                address: address.address, subsystemNQN: address.subsystemNQN, hostNQN: hostNQN, hostID: hostID,
                connectTimeoutMilliseconds: connectTimeoutMilliseconds, recovery: .fail)
            options.onlyNamespace = address.nsid
            if let commandTimeoutMilliseconds {
                options.ioTimeoutMilliseconds = commandTimeoutMilliseconds
                options.adminTimeoutMilliseconds = commandTimeoutMilliseconds
            }
            let controller = Controller(options, home: group, groups: [group])
            do throws(InitiatorError) {
                try await controller.connect()
            } catch {
                await close()
                throw failure(MemberIndex(index), .unavailable, "\(error)")
            }
            controllers.append(controller)
            guard let namespace = controller.namespace(address), namespace.problem == nil else {
                await close()
                throw failure(
                    MemberIndex(index), .notFound, "the subsystem shows this host no usable namespace \(address.nsid)")
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
        // All at the same time: those that do not answer cost one time limit together.
        await withTaskGroup(of: (Int, MemberSurvey).self) { tasks in
            for (index, address) in members.enumerated() {
                tasks.addTask {
                    let found = await look(
                        at: address, as: MemberIndex(index), hostNQN: hostNQN, hostID: hostID, group: group,
                        formattedBytes: formattedBytes, stepMilliseconds: stepMilliseconds)
                    return (index, found)
                }
            }
            var found: [Int: MemberSurvey] = [:]
            for await (index, survey) in tasks { found[index] = survey }
            return members.indices.compactMap { found[$0] }
        }
    }

    private static func look(
        at address: MemberAddress, as index: MemberIndex, hostNQN: String, hostID: UUIDBytes, group: InitiatorGroup,
        formattedBytes: UInt64, stepMilliseconds: UInt32
    ) async -> MemberSurvey {
        do throws(TercetError) {
            return try await connected(
                to: [address], names: [index], hostNQN: hostNQN, hostID: hostID, group: group,
                connectTimeoutMilliseconds: stepMilliseconds, commandTimeoutMilliseconds: stepMilliseconds
            ) { probe throws(TercetError) in
                let record = try await probe.record(of: 0, as: index, formattedBytes: formattedBytes)
                    .flatMap { found in probe.checked(found, as: index) }
                return MemberSurvey(
                    superblock: record.map(\.superblock).mapError { probe.failure(0, .damaged, $0.withoutMember) },
                    isBlank: record.isBlank(index), damagedSlot: (try? record.get())?.damagedSlot,
                    presentHosts: await probe.presentHosts(of: 0))
            }
        } catch {
            return MemberSurvey(superblock: .failure(error), presentHosts: [])
        }
    }

    /// The sizes in a superblock, checked against the only namespace that was looked at, the member `index`.
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
    public func presentHosts(of member: MemberIndex) async -> [PresentHost] {
        guard offersReservations(member) else { return [] }
        let report = try? await report(member)
        let connected = report?.registrants.filter {
            $0.controllerID != ReservationStatus.Registrant.anyController
        }
        guard let connected, !connected.isEmpty else { return [] }
        let page = try? await controllers[member].identify(.controller)
        let identity = page.flatMap { TercetIdentity(identifyController: $0) }
        let isCertain = identity?.abilities.contains(.registrantPresence) == true
        return connected.map { PresentHost(registrant: $0, isCertain: isCertain) }
    }

    /// The members that are connected, in order.
    var places: [MemberIndex] { addresses.indices.map { MemberIndex($0) } }

    // MARK: What members offer

    /// An error that says which member it is about.
    func failure(_ member: MemberIndex, _ code: TercetError.Code, _ text: String) -> TercetError {
        TercetError(code, "member \(names[member]) (\(addresses[member])): \(text)")
    }

    func controller(_ member: MemberIndex) -> Controller { controllers[member] }

    func description(of member: MemberIndex) -> NamespaceDescription { namespaces[member] }

    /// Whether the member's target offers the reservations that a volume is fenced by: the commands (ONCS), and the type
    /// Write Exclusive, Registrants Only (RESCAP).
    func offersReservations(_ member: MemberIndex) -> Bool {
        controllers[member].association?.identify.nvmCommands.contains(.reservations) == true
            && namespaces[member].identify.reservations.contains(.writeExclusiveRegistrantsOnly)
    }

    func report(_ member: MemberIndex) async throws(InitiatorError) -> ReservationStatus {
        try await controllers[member].reservationReport(nsid: addresses[member].nsid)
    }

    /// Disconnects.
    private func close() async {
        for controller in controllers { await controller.close() }
        controllers = []
    }

    public func blockSize(of member: MemberIndex) -> UInt32 { UInt32(namespaces[member].blockSize) }

    public func blocks(of member: MemberIndex) -> UInt64 { namespaces[member].blockCount }

    /// The superblock of a member, read without fencing: for status, and to see what a namespace holds.
    public func superblock(
        of member: MemberIndex
    ) async throws(TercetError) -> Result<Superblock, MetadataError> {
        try await record(of: member, as: names[member], formattedBytes: 0).map(\.superblock)
    }

    private typealias FoundRecord = (superblock: Superblock, damagedSlot: Int?)

    /// The record of a member, which is called `name` where something is wrong with it. Where the namespace's end has none,
    /// that of a namespace of `formattedBytes` is looked at, unless they are 0; where it has one that says that the record is
    /// at the end of a smaller namespace, that one.
    private func record(
        of member: MemberIndex, as name: MemberIndex, formattedBytes: UInt64
    ) async throws(TercetError) -> Result<FoundRecord, MetadataError> {
        let size = blocks(of: member)
        let found = try await record(of: member, as: name, blocks: size)
        let told = (try? found.get()).flatMap { $0.superblock.formerSize(of: size) }
        let former = told ?? formattedBytes / UInt64(blockSize(of: member))
        guard former > 0, former < size else { return found }
        switch (found, try await record(of: member, as: name, blocks: former)) {
        case (.success(let present), .success(let before)):
            return .success(before.superblock.stamp >= present.superblock.stamp ? before : present)
        case (.success, .failure): return found
        case (.failure, let before): return before
        }
    }

    /// The size, in blocks, at whose end a member's record is where the namespace has been enlarged since; `nil` where it has
    /// not, or where nothing tells of that.
    func formerSize(_ member: MemberIndex) async -> UInt64? {
        try? await record(of: member, as: member, blocks: blocks(of: member)).get().superblock
            .formerSize(of: blocks(of: member))
    }

    private func record(
        of member: MemberIndex, as name: MemberIndex, blocks: UInt64
    ) async throws(TercetError) -> Result<FoundRecord, MetadataError> {
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
                    slot1: UnsafeRawBufferPointer(rebasing: pages[pageSize...]), endOf: blocks))
        } catch {
            return .failure(error)
        }
    }

    /// The namespace's identity: its UUID, NGUID or EUI-64; one that has no name of its own, by its address.
    public func identity(_ member: MemberIndex) -> UUIDBytes {
        let (names, identify) = (namespaces[member].descriptors, namespaces[member].identify)
        if let uuid = names?.uuid { return uuid }
        if let nguid = names?.nguid ?? (identify.nguid == UUIDBytes() ? nil : identify.nguid) { return nguid }
        let eui64 = names?.eui64 ?? identify.eui64
        if eui64 != 0 { return UUIDBytes(high: eui64, low: 0) }
        // FNV-1a of 64 bits.
        let hash = addresses[member].description.utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) {
            ($0 ^ UInt64($1)) &* 0x100_0000_01B3
        }
        return UUIDBytes(high: hash, low: UInt64(addresses[member].nsid))
    }

    // MARK: I/O

    /// The place of a page that is to be written.
    func pageBuffer(_ bytes: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: arena.memory[..<bytes])
    }

    /// Blocks that one `zero` takes: several commands at a time, where the target does Write Zeroes.
    func zeroedAtOnce(_ member: MemberIndex) -> UInt64 {
        let bytes = zeroesByCommand(member) ? Self.zeroedAtOnce : UInt64(Self.bufferByteCount)
        return bytes / UInt64(blockSize(of: member))
    }

    private func zeroesByCommand(_ member: MemberIndex) -> Bool {
        controllers[member].association?.identify.nvmCommands.contains(.writeZeroes) == true
    }

    /// Zeroes up to `zeroedAtOnce` blocks, by Write where the target has no Write Zeroes.
    func zero(_ member: MemberIndex, start: UInt64, count: UInt64) async throws(TercetError) {
        guard !zeroesByCommand(member) else {
            return try await transfer(.writeZeroes, member, start: start, count: count)
        }
        pageBuffer(Int(count) * Int(blockSize(of: member))).initializeMemory(as: UInt8.self, repeating: 0)
        try await transfer(.write, member, start: start, count: count)
    }

    func transfer(
        _ kind: IOKind, _ member: MemberIndex, start: UInt64, count: UInt64
    ) async throws(TercetError) {
        let queue = controllers[member].queues[0]
        let arena = arena
        let answer = await queue.withDevice { device in
            try? device.register(arena, access: kind == .read ? .incoming : .outgoing)
        }
        guard let region = answer ?? nil, let base = arena.memory.baseAddress else {
            throw failure(member, .unavailable, "the connection was lost")
        }
        var data: IOSegment?
        if kind == .read || kind == .write {
            data = IOSegment(
                address: base, length: Int(count) * Int(blockSize(of: member)), localKey: region.localKey,
                remoteKey: region.remoteKey)
        }
        let completion = await queue.perform(
            IOOperation(
                kind, namespace: namespaces[member].index, startingLBA: start, blockCount: count, data: data,
                // A thin namespace stays thin.
                flags: kind == .writeZeroes ? .mayDeallocate : []))
        guard completion.isSuccess else {
            let reason = completion.outcome == .surelyDone ? "\(completion.status)" : "\(completion.failure)"
            let place = count > 0 ? " of \(count) blocks at \(start)" : ""
            throw failure(member, .failed, "\(kind.text)\(place) failed: \(reason)")
        }
    }
}

extension IOKind {
    /// The command's name, for people.
    var text: String {
        switch self {
        case .read: "a read"
        case .write: "a write"
        case .flush: "a flush"
        case .compare: "a comparison"
        case .writeZeroes: "zeroing"
        case .verify: "a verification"
        case .compareAndWrite: "a comparison and write"
        case .deallocate: "a trim"
        }
    }
}

extension Result where Failure == MetadataError {
    /// There is no record of a member.
    fileprivate func isBlank(_ member: MemberIndex) -> Bool {
        if case .failure(let error) = self { return error == .notFormatted(member: member) }
        return false
    }
}

extension MetadataError {
    /// The description without the member that it is about.
    fileprivate var withoutMember: String {
        let text = description
        guard text.hasPrefix("member "), let colon = text.firstIndex(of: ":") else { return text }
        return String(text[text.index(colon, offsetBy: 2)...])
    }
}
