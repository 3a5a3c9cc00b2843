import Base
import NVMeInitiator
import NVMeSpec

/// A pool of namespaces at a target, as its manager sees it: over an admin queue alone.
///
/// A namespace is named by the UUID that its maker chose before. So each call can be made again after a death, and none touches a
/// namespace that is somebody else's.
public final class PoolConnection: Sendable {
    /// The room of a pool.
    public struct Facts: Equatable, Sendable {
        /// Bytes that all namespaces may have together, and those of them that none has.
        public var capacity: UInt64
        public var unallocated: UInt64
        /// Bytes of a logical block.
        public var blockSize: UInt32
    }

    /// For people.
    public let name: String
    public let address: SocketAddress
    public let subsystemNQN: String
    private let controller: Controller
    private let hostNQN: String

    /// Connects to a pool at the first of its addresses that answers. `close` follows.
    public static func open(
        _ name: String, at addresses: [SocketAddress], subsystemNQN: String, as host: HostIdentity,
        group: InitiatorGroup, timeoutMilliseconds: UInt32
    ) async throws(TercetError) -> PoolConnection {
        var problems: [String] = []
        for address in addresses {
            var options = ControllerOptions(
                address: address, subsystemNQN: subsystemNQN, hostNQN: host.nqn, hostID: host.id,
                connectTimeoutMilliseconds: timeoutMilliseconds, adminTimeoutMilliseconds: timeoutMilliseconds,
                recovery: .fail)
            options.onlyNamespace = 0
            let controller = Controller(options, home: group, groups: [])
            do throws(InitiatorError) {
                try await controller.connect()
                return PoolConnection(name, controller, host)
            } catch {
                problems.append("\(address): \(error)")
                await controller.close()
            }
        }
        throw TercetError(.unavailable, "pool \(name): " + problems.joined(separator: "; "))
    }

    private init(_ name: String, _ controller: Controller, _ host: HostIdentity) {
        self.name = name
        self.controller = controller
        address = controller.options.address
        subsystemNQN = controller.options.subsystemNQN
        hostNQN = host.nqn
    }

    public func close() async { await controller.close() }

    /// Looks at the pool. Throws where it is none, or where this host may not manage it.
    public func facts() async throws(TercetError) -> Facts {
        try await call { () async throws(InitiatorError) in try await readFacts() }.get()
    }

    private func readFacts() async throws(InitiatorError) -> Result<Facts, TercetError> {
        let page = try await controller.identify(.controller)
        guard let identify = try? IdentifyController(decoding: page),
            identify.adminCommands.contains(.namespaceManagement)
        else {
            return .failure(
                failure(
                    .notPermitted,
                    "\(subsystemNQN) is no pool, or does not let this host manage it: name \(hostNQN) among the pool's 'managers'"
                )
            )
        }
        guard TercetIdentity(identifyController: page)?.abilities.contains(.poolRequests) == true else {
            return .failure(
                failure(.unsupported, "its target makes no namespace with a chosen UUID; tercetd of this release does"))
        }
        let common = try await controller.identify(.namespace, nsid: NamespaceManagementCommand.allNamespaces)
        guard let blockSize = (try? IdentifyNamespace(decoding: common))?.formats.first?.blockSize else {
            return .failure(failure(.failed, "its target tells no block size"))
        }
        return .success(
            Facts(
                capacity: identify.totalCapacity, unallocated: identify.unallocatedCapacity,
                blockSize: UInt32(blockSize)))
    }

    /// Makes a namespace and attaches it; one with the UUID that is there already is the answer. Returns its identifier.
    public func make(_ uuid: UUIDBytes, blockCount: UInt64) async throws(TercetError) -> UInt32 {
        try await call { () async throws(InitiatorError) in
            var data = NamespaceCreationData(blockCount: blockCount)
            data.uuid = uuid
            let nsid = try await controller.createNamespace(data)
            do throws(InitiatorError) { try await controller.attachNamespace(nsid) } catch {
                guard error.has(.namespaceAlreadyAttached) else { throw error }
            }
            return nsid
        }
    }

    /// Finds a namespace; `nil` where there is none with the UUID.
    ///
    /// - Parameter hint: its identifier, as far as it is known.
    public func find(_ uuid: UUIDBytes, hint: UInt32 = 0) async throws(TercetError) -> UInt32? {
        try await call { () async throws(InitiatorError) in
            if hint > 0, try await isNamespace(hint, uuid) { return hint }
            for nsid in try await controller.allocatedNamespaces() where try await isNamespace(nsid, uuid) {
                return nsid
            }
            return nil
        }
    }

    /// Deletes a namespace. One that is not there is no error.
    public func delete(_ uuid: UUIDBytes, hint: UInt32 = 0) async throws(TercetError) {
        guard let nsid = try await find(uuid, hint: hint) else { return }
        try await call { () async throws(InitiatorError) in try await controller.deleteNamespace(nsid) }
    }

    /// Gives a namespace more blocks; one that has as many is left as it is. Returns how many it has.
    public func grow(_ uuid: UUIDBytes, hint: UInt32, blockCount: UInt64) async throws(TercetError) -> UInt64 {
        guard let nsid = try await find(uuid, hint: hint) else {
            throw failure(.notFound, "it has no namespace \(uuid) any more")
        }
        return try await call { () async throws(InitiatorError) in
            let present = try await controller.allocatedNamespace(nsid).size
            guard present < blockCount else { return present }
            try await controller.growNamespace(nsid, blockCount: blockCount)
            return blockCount
        }
    }

    private func isNamespace(_ nsid: UInt32, _ uuid: UUIDBytes) async throws(InitiatorError) -> Bool {
        do throws(InitiatorError) { return try await controller.allocatedNamespace(nsid).nguid == uuid } catch {
            // It was deleted meanwhile.
            guard error.has(.invalidNamespaceOrFormat) else { throw error }
            return false
        }
    }

    private func call<Result>(_ body: () async throws(InitiatorError) -> Result) async throws(TercetError) -> Result {
        do throws(InitiatorError) { return try await body() } catch {
            if error.has(.namespaceInsufficientCapacity) || error.has(.namespaceIdentifierUnavailable) {
                throw failure(.exhausted, "it has no room for that namespace: \(error)")
            }
            if error.has(.operationDenied) {
                throw failure(.notPermitted, "name \(hostNQN) among the pool's 'managers': \(error)")
            }
            if error.has(.identifierUnavailable) { throw failure(.exists, "\(error)") }
            guard case .status = error else { throw failure(.unavailable, "\(error)") }
            throw failure(.failed, "\(error)")
        }
    }

    private func failure(_ code: TercetError.Code, _ text: String) -> TercetError {
        TercetError(code, "pool \(name) (\(address)): \(text)")
    }
}

extension InitiatorError {
    /// The controller has answered so.
    fileprivate func has(_ status: Status) -> Bool {
        if case .status(let found, _) = self { return found.matches(status) }
        return false
    }
}
