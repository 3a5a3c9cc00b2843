import Base
import NVMeSpec

/// A pool, as its subsystem has it: namespaces that are made, attached and deleted while the target runs, by hosts (NVMe Base,
/// "Namespace Management") or by the operator.
public struct PoolDefinition: Equatable, Sendable {
    /// The folder of the namespaces' files.
    public var folder: String
    /// Bytes that all namespaces may promise together (TNVMCAP).
    public var capacity: UInt64
    /// Namespaces that there may be.
    public var maxNamespaces: Int
    /// Bytes of a logical block of namespaces that are made from now on.
    public var blockSize: UInt32
    /// NQNs of the hosts that may make and delete.
    public var managers: Set<String>
    /// The namespaces that there are, attached or not, in the order of their identifiers.
    public var namespaces: [PoolNamespace] { didSet { promised = Self.bytes(of: namespaces) } }
    /// Bytes of all namespaces: hosts ask for it, and may not wait until they have been added up.
    private var promised: UInt64

    public init(
        folder: String, capacity: UInt64, maxNamespaces: Int = 1024, blockSize: UInt32 = 4096,
        managers: Set<String> = [], namespaces: [PoolNamespace] = []
    ) {
        self.folder = folder
        self.capacity = capacity
        self.maxNamespaces = maxNamespaces
        self.blockSize = blockSize
        self.managers = managers
        self.namespaces = namespaces
        promised = Self.bytes(of: namespaces)
    }

    private static func bytes(of namespaces: [PoolNamespace]) -> UInt64 {
        namespaces.reduce(0) { $0.addingReportingOverflow($1.byteCount).partialValue }
    }

    /// Bytes that no namespace has been promised (UNVMCAP).
    public var unallocated: UInt64 { capacity - min(capacity, promised) }

    /// Finds a namespace in a time that hardly depends on how many there are.
    public subscript(nsid: UInt32) -> PoolNamespace? {
        namespaces(from: nsid).first.flatMap { $0.nsid == nsid ? $0 : nil }
    }

    /// The namespaces from an identifier on.
    public func namespaces(from nsid: UInt32) -> ArraySlice<PoolNamespace> {
        var (low, high) = (0, namespaces.count)
        while low < high {
            let middle = (low + high) / 2
            if namespaces[middle].nsid < nsid { low = middle + 1 } else { high = middle }
        }
        return namespaces[low...]
    }
}

/// A namespace of a pool, attached or not.
public struct PoolNamespace: Equatable, Sendable {
    public var nsid: UInt32
    /// Its UUID and NGUID: made with it, never used again.
    public var uuid: UUIDBytes
    public var blockCount: UInt64
    /// Bytes.
    public var blockSize: UInt32
    /// Hosts see it: all controllers of the subsystem have it.
    public var isAttached: Bool

    public init(nsid: UInt32, uuid: UUIDBytes, blockCount: UInt64, blockSize: UInt32, isAttached: Bool = false) {
        self.nsid = nsid
        self.uuid = uuid
        self.blockCount = blockCount
        self.blockSize = blockSize
        self.isAttached = isAttached
    }

    public var byteCount: UInt64 { blockCount.multipliedReportingOverflow(by: UInt64(blockSize)).partialValue }
}

/// A change of a pool.
public enum PoolChange: Equatable, Sendable {
    /// A namespace of so many blocks of the pool's block size.
    ///
    /// - Parameter uuid: the one that it is to have, if the caller wants to find it again; one that is there already, and is of this
    ///   size, is the answer.
    case create(blockCount: UInt64, uuid: UUIDBytes? = nil)
    /// Attached or not.
    case delete(UInt32)
    case deleteAll
    case attach(UInt32)
    case detach(UInt32)
    /// The namespace gets so many blocks; it never shrinks.
    case grow(UInt32, blockCount: UInt64)
}

/// Why a pool was not changed.
public enum PoolRefusal: Error, Equatable, Sendable, CustomStringConvertible {
    /// A namespace of no blocks.
    case empty
    /// The pool, or the file system below it, has less.
    case insufficientCapacity(needed: UInt64, unallocated: UInt64)
    /// There are as many namespaces as there may be.
    case noIdentifier(max: Int)
    /// A namespace of another size has the UUID that was asked for.
    case uuidInUse(UUIDBytes)
    case notFound(UInt32)
    case alreadyAttached(UInt32)
    case notAttached(UInt32)
    /// The namespace has so many blocks already.
    case cannotShrink(UInt32, blockCount: UInt64)
    /// The pool is not there at present.
    case unavailable(String)
    /// The change may have been made or not; the pool says.
    case failed(String)

    public var description: String {
        switch self {
        case .empty: "the size is 0; allowed: one block or more"
        case .insufficientCapacity(let needed, let unallocated):
            "\(needed) bytes are needed, and \(unallocated) are not allocated; delete a namespace, or raise 'capacity'"
        case .noIdentifier(let max): "there are \(max) namespaces; delete one, or raise 'maxNamespaces'"
        case .uuidInUse(let uuid): "a namespace of another size has the UUID \(uuid)"
        case .notFound(let nsid): "there is no namespace \(nsid)"
        case .alreadyAttached(let nsid): "namespace \(nsid) is attached already"
        case .notAttached(let nsid): "namespace \(nsid) is not attached"
        case .cannotShrink(let nsid, let blockCount):
            "namespace \(nsid) has \(blockCount) blocks already; allowed: as many or more"
        case .unavailable(let reason), .failed(let reason): reason
        }
    }
}

/// The process that a target runs in, as far as it changes pools for hosts.
public protocol PoolKeeper: Sendable {
    /// Makes a change, durably, and brings it about at the target; then calls `completion`, from any thread, with the namespace's
    /// identifier. Called from a reactor: must not block.
    ///
    /// - Parameter host: the NQN of the host that asks, for the log.
    func change(
        pool nqn: String, _ change: PoolChange, for host: String,
        completion: @escaping @Sendable (Result<UInt32, PoolRefusal>) -> Void)
}
