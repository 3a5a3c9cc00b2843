import Base
import NVMeInitiator
import VolumeDriver
import VolumeRegistry

/// Pools of a registry, connected as far as they answer. `close` follows.
struct OpenPools {
    let registered: RegisteredPools
    private var connections: [String: PoolConnection] = [:]
    private var facts: [String: PoolConnection.Facts] = [:]
    /// Why others cannot be used, by name.
    private(set) var problems: [String: TercetError] = [:]

    /// Connects to pools, all at the same time.
    ///
    /// - Parameters:
    ///   - names: those that are wanted; `nil` for all.
    ///   - milliseconds: the time for each step with a pool.
    static func open(
        _ names: Set<String>? = nil, in list: any Registry, as host: HostIdentity, _ group: InitiatorGroup,
        milliseconds: UInt64
    ) async throws(TercetError) -> OpenPools {
        let registered = try await callRegistry { () async throws(RegistryError) in try await list.pools() }
        var pools = OpenPools(registered)
        let wanted = registered.pools.filter { names?.contains($0.name) ?? true }
        for name in names ?? [] where registered[name] == nil {
            pools.problems[name] = TercetError(
                .notFound, "pool \(name): is not in the registry; tercet pool add enters it")
        }
        await pools.connect(wanted, host, group, UInt32(clamping: milliseconds))
        return pools
    }

    private init(_ registered: RegisteredPools) { self.registered = registered }

    private typealias Opened = Result<(PoolConnection, PoolConnection.Facts), TercetError>

    private mutating func connect(
        _ wanted: [PoolEntry], _ host: HostIdentity, _ group: InitiatorGroup, _ milliseconds: UInt32
    ) async {
        let nqn = host.nqn
        let found = await withTaskGroup(of: (String, Opened).self) { tasks in
            for pool in wanted {
                tasks.addTask { (pool.name, await Self.connect(pool, nqn, group, milliseconds)) }
            }
            var found: [(String, Opened)] = []
            for await result in tasks { found.append(result) }
            return found
        }
        for (name, result) in found {
            switch result {
            case .success(let (connection, facts)):
                connections[name] = connection
                self.facts[name] = facts
            case .failure(let problem): problems[name] = problem
            }
        }
    }

    private static func connect(
        _ pool: PoolEntry, _ nqn: String, _ group: InitiatorGroup, _ milliseconds: UInt32
    ) async -> Opened {
        do throws(TercetError) {
            let connection = try await PoolConnection.open(
                pool.name, at: pool.targets, subsystemNQN: pool.subsystem, as: HostIdentity(nqn: nqn, id: .random()),
                group: group, timeoutMilliseconds: milliseconds)
            do throws(TercetError) { return .success((connection, try await connection.facts())) } catch {
                await connection.close()
                throw error
            }
        } catch { return .failure(error) }
    }

    func close() async { for connection in connections.values { await connection.close() } }

    /// The connection to a pool; throws where it has none.
    func connection(_ name: String) throws(TercetError) -> PoolConnection {
        if let connection = connections[name] { return connection }
        throw problems[name] ?? TercetError(.unavailable, "pool \(name): was not connected")
    }

    func facts(_ name: String) -> PoolConnection.Facts? { facts[name] }

    /// The offers of pools that can be used.
    ///
    /// - Parameter domains: those in which they lie; empty for any.
    func offers(in domains: [String] = []) -> [PoolOffer] {
        registered.pools.filter { domains.isEmpty || domains.contains($0.domain) }.compactMap { pool in
            facts[pool.name].map {
                PoolOffer(
                    name: pool.name, domain: pool.domain, unallocated: $0.unallocated, blockSize: $0.blockSize)
            }
        }
    }

    /// The pools that cannot be used, and why; empty if there are none.
    var troubles: String {
        problems.sorted { $0.key < $1.key }.map { "; \($0.value)" }.joined()
    }
}
