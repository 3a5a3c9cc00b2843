import Base
import NVMeSpec
import TargetInterface

/// Parts of Identify that a pool has, and other subsystems have not.
extension IdentifyController {
    /// Takes on the capacity of a pool, and whether this host may manage it. Capacity is shown to all hosts (NVMe Base, TNVMCAP and
    /// UNVMCAP).
    mutating func note(_ pool: PoolDefinition, isManager: Bool) {
        totalCapacity = pool.capacity
        unallocatedCapacity = pool.unallocated
        maxAllowedNamespaces = UInt32(clamping: pool.maxNamespaces)
        if isManager { adminCommands.insert(.namespaceManagement) }
    }
}

extension IdentifyNamespace {
    /// The properties that all namespaces of a pool have: Identify of NSID FFFFFFFFh (NVM Command Set, "Identify Namespace Data Structure").
    init(commonTo pool: PoolDefinition) {
        self.init()
        formats = [LBAFormat(dataSizeShift: UInt8(pool.blockSize.trailingZeroBitCount))]
        sharing = .shared
        anaGroup = 1
        features = [.uniqueIdentifiers]
    }

    /// A namespace of a pool that is not attached.
    init(unattached namespace: PoolNamespace) {
        self.init(blockCount: namespace.blockCount, blockSize: Int(namespace.blockSize))
        sharing = .shared
        anaGroup = 1
        features = [.uniqueIdentifiers]
        nguid = namespace.uuid
    }
}
