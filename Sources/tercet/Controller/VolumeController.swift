import Base
import ControllerCalls
import NVMeInitiator
import VolumeDriver
import VolumeRegistry

/// The calls of a CSI controller (CSI 1.12, "Controller Service RPC"). Each may be made again, whatever became of the one before.
struct VolumeController {
    typealias Failure = ControllerAnswer.Failure

    let registry: any Registry
    let hostNQN: String?
    let patience: Patience

    /// The smallest volume, and the one that is made where nothing says how large.
    static let smallest: UInt64 = 1 << 20
    static let usual: UInt64 = 1 << 30

    func answer(_ request: ControllerRequest) async throws -> ControllerAnswer {
        switch request {
        case .ready:
            _ = try await callRegistry { () async throws(RegistryError) in try await registry.pools() }
            return ControllerAnswer()
        case .create(let wish): return ControllerAnswer(volumes: [try await create(wish).volume])
        case .delete(let name):
            try await delete(name)
            return ControllerAnswer()
        case .publish(let name, let node): return ControllerAnswer(volumes: [try await publish(name, node).volume])
        case .unpublish(let name, let node):
            try await unpublish(name, node)
            return ControllerAnswer()
        case .list(let most, let after): return try await list(most, after)
        case .get(let name): return ControllerAnswer(volumes: [try await ready(name).entry.volume])
        case .expand(let name, let least, let most):
            return ControllerAnswer(volumes: [try await expand(name, least, most).volume])
        case .capacity(let parameters, let domain): return try await capacity(VolumeClass(parameters), domain)
        case .modify(let name, let parameters):
            try await modify(name, LimitParameters(parameters))
            return ControllerAnswer()
        case .enter(let node, let domain):
            try await enter(NodeEntry(name: node, domain: domain))
            return ControllerAnswer()
        }
    }

    // MARK: Finding

    func find(_ name: String) async throws -> Registration? {
        let (list, name) = (registry, name)
        let found = try await callRegistry { () async throws(RegistryError) in try await list.get(name) }
        return found == nil ? nil : try await Registration.find(name, in: list)
    }

    /// The entry of a volume that is there and in use, or may be.
    func ready(_ name: String) async throws -> Registration {
        guard let found = try await find(name) else { throw Failure(.notFound, "there is no volume \(name)") }
        guard found.entry.state == .ready else {
            throw Failure(.notFound, "volume \(name) is \(found.entry.state): it is not there yet, or not any more")
        }
        return found
    }

    /// Refuses while another call for the volume runs. One that was interrupted on another machine, or in another container, is over:
    /// one controller at a time serves a registry.
    private func refuseBusy(_ entry: VolumeEntry) throws {
        guard let operation = entry.operation, operation.worker.isAlive == true else { return }
        throw Failure(
            .aborted,
            "volume \(entry.name): \(operation.worker.words) is at work on \(operation.words); try again later")
    }

    /// A change that met another program's. It can be made again.
    func change<Result>(_ body: () async throws -> Result) async throws -> Result {
        do { return try await body() } catch let error as TercetError
            where error.code == .exists || error.code == .notFound
        {
            throw Failure(.aborted, error.description)
        }
    }

    /// Lets `body` use targets.
    private func withSession<Result>(_ body: (Session) async throws -> Result) async throws -> Result {
        let session = try Session()
        defer { session.end() }
        return try await body(session)
    }

    private func pooled(_ registration: Registration, _ session: Session) -> PooledVolume {
        PooledVolume(registration, hostNQN: hostNQN, patience: patience, session.groups[0])
    }

    // MARK: Creation and end

    private func create(_ wish: VolumeWish) async throws -> VolumeEntry {
        let kind = try VolumeClass(wish.parameters)
        let limits = try LimitParameters(wish.mutableParameters)
        let least = try size(wish, kind)
        do throws(RegistryError) { try VolumeEntry.validate(name: wish.name) } catch {
            throw Failure(.invalidArgument, error.message)
        }
        if let found = try await find(wish.name) {
            try refuseBusy(found.entry)
            if found.entry.state == .ready { return try await same(found.entry, wish, kind) }
            // A creation or an end was interrupted: then there is nothing of the volume that anybody has been told of.
            try await withSession { session in
                try await claim(found)
                let volume = pooled(found, session)
                _ = try await found.entry.state == .creating ? volume.settleCreation() : volume.settleEnd()
            }
            if let complete = try await find(wish.name) { return try await same(complete.entry, wish, kind) }
        }
        return try await withSession { session in
            let making = PooledMaking(
                name: wish.name, leastBytes: least, mostBytes: wish.mostBytes, creation: kind.creation,
                spread: kind.spread,
                pools: kind.pools, domains: wish.domains,
                labels: Label.of(limits).merging([Label.parameters: kind.canonical]) { $1 }, hostNQN: hostNQN,
                patience: patience)
            do {
                return try await making.make(in: registry, session.groups[0]).registration.entry
            } catch let error as TercetError where error.code == .exists {
                throw Failure(.aborted, error.description)
            } catch let error as TercetError where error.code == .invalid {
                throw Failure(.outOfRange, error.description)
            }
        }
    }

    /// The size that is asked for at least.
    private func size(_ wish: VolumeWish, _ kind: VolumeClass) throws -> UInt64 {
        let least = wish.leastBytes > 0 ? max(wish.leastBytes, Self.smallest) : min(Self.usual, wish.mostBytes)
        guard least >= Self.smallest, least <= wish.mostBytes, least <= UInt64(Int64.max) else {
            throw Failure(
                .outOfRange,
                "volume \(wish.name): at least \(wish.leastBytes) and at most \(wish.mostBytes) bytes; a volume has \(Self.smallest) or "
                    + "more")
        }
        guard PooledSize(bytes: least, blockSize: 4096, regionSize: kind.creation.regionSize) != nil else {
            throw Failure(
                .outOfRange, "volume \(wish.name): no volume has \(least) bytes; larger regions (regionSize) allow more"
            )
        }
        return least
    }

    /// The volume that is there under the name, if it is the one that is asked for.
    private func same(_ entry: VolumeEntry, _ wish: VolumeWish, _ kind: VolumeClass) async throws -> VolumeEntry {
        let size = entry.size ?? 0
        guard size >= wish.leastBytes, size <= wish.mostBytes else {
            throw Failure(
                .alreadyExists,
                "volume \(entry.name) is there with \(size) bytes; asked for are \(wish.leastBytes) to \(wish.mostBytes)"
            )
        }
        guard entry.labels[Label.parameters] == kind.canonical else {
            throw Failure(
                .alreadyExists,
                "volume \(entry.name) is there with other parameters (\(entry.labels[Label.parameters] ?? "none")); asked for are "
                    + kind.canonical)
        }
        try await checkDomains(entry, wish.domains.allowed)
        return entry
    }

    /// Throws where a member lies in a failure domain that is not allowed.
    private func checkDomains(_ entry: VolumeEntry, _ allowed: [String]) async throws {
        guard !allowed.isEmpty else { return }
        let list = registry
        let pools = try await callRegistry { () async throws(RegistryError) in try await list.pools() }
        let domains = Set(entry.members.compactMap { $0.pool.flatMap { pools[$0]?.domain } })
        guard domains.isSubset(of: allowed) else {
            throw Failure(
                .alreadyExists,
                "volume \(entry.name) is there in the failure domains \(domains.sorted().joined(separator: ", ")); asked for are "
                    + allowed.sorted().joined(separator: ", "))
        }
    }

    /// Takes over an operation that was interrupted.
    private func claim(_ registration: Registration) async throws {
        guard registration.entry.isPooled else {
            throw Failure(
                .failedPrecondition,
                "volume \(registration.entry.name) is \(registration.entry.state), and was not made by a controller: tercet registry check "
                    + "settles it")
        }
        let kind: VolumeOperation.Kind = registration.entry.state == .creating ? .create : .destroy
        try await change { try await registration.change { $0.operation = VolumeOperation(kind) } }
    }

    private func delete(_ name: String) async throws {
        guard VolumeEntry.isName(name), let found = try await find(name) else { return }
        try refuseBusy(found.entry)
        if let node = found.entry.labels[Label.node] {
            throw Failure(.failedPrecondition, "volume \(name) is published to node \(node): unpublish it first")
        }
        guard found.entry.isPooled else {
            throw Failure(
                .failedPrecondition,
                "volume \(name) lies on namespaces that an operator gave: tercet volume destroy ends it, and keeps them"
            )
        }
        try await withSession { session in
            let volume = pooled(found, session)
            if found.entry.state == .creating {
                try await claim(found)
                try await volume.remove()
            } else {
                try await volume.destroy(.none)
            }
        }
    }

    // MARK: Looks

    private func list(_ most: Int, _ after: String) async throws -> ControllerAnswer {
        let list = registry
        let listing = try await callRegistry { () async throws(RegistryError) in try await list.list() }
        let ready = listing.volumes.map(\.entry).filter { $0.state == .ready }
        guard after.isEmpty || VolumeEntry.isName(after) else {
            throw Failure(
                .aborted, "the token for the list's next part is none of this driver's: list from the beginning")
        }
        let rest = ready.drop { after.utf8.isEmpty ? false : !after.utf8.lexicographicallyPrecedes($0.name.utf8) }
        let part = most > 0 ? rest.prefix(most) : rest
        return ControllerAnswer(
            volumes: part.map(\.volume), next: part.count < rest.count ? part.last?.name : nil)
    }

    private func capacity(_ kind: VolumeClass, _ domain: String?) async throws -> ControllerAnswer {
        try await withSession { session in
            let pools = try await OpenPools.open(
                kind.pools, in: registry, as: HostIdentity(nqn: hostNQN, id: .random()), session.groups[0],
                milliseconds: min(patience.milliseconds, 3000))
            await pools.close()
            let choice = PoolChoice(pools.offers(in: domain.map { [$0] } ?? []), kind.spread)
            let largest = choice.largest.flatMap { found in
                PooledSize.largest(in: found.bytes, blockSize: found.blockSize, regionSize: kind.creation.regionSize)
            }
            return ControllerAnswer(
                capacity: .init(total: choice.total, largest: largest ?? 0, smallest: Self.smallest))
        }
    }

    // MARK: Growth

    private func expand(_ name: String, _ least: UInt64, _ most: UInt64) async throws -> VolumeEntry {
        let found = try await ready(name)
        try refuseBusy(found.entry)
        let size = found.entry.size ?? 0
        guard size < least else {
            guard size <= most else {
                throw Failure(.outOfRange, "volume \(name) has \(size) bytes, and does not shrink to \(most)")
            }
            return found.entry
        }
        guard least <= most else {
            throw Failure(.outOfRange, "volume \(name): no volume has at least \(least) and at most \(most) bytes")
        }
        guard found.entry.isPooled else {
            throw Failure(
                .failedPrecondition,
                "volume \(name) lies on namespaces that an operator gave: enlarge these, and tercet volume grow \(name)"
            )
        }
        if let node = found.entry.labels[Label.node] {
            throw Failure(
                .failedPrecondition, "volume \(name) is published to node \(node): it grows while no node has it")
        }
        try await withSession { session in
            let volume = pooled(found, session)
            guard await !volume.isBlank() else {
                throw Failure(
                    .failedPrecondition,
                    "volume \(name) is blank, and would not be known to be blank with other blocks behind: it grows once a node has staged it "
                        + "and let go of it")
            }
            do { _ = try await volume.grow(to: least, .none, session) } catch let error as TercetError
                where error.code == .invalid
            {
                throw Failure(.outOfRange, error.description)
            }
        }
        return try await ready(name).entry
    }
}
