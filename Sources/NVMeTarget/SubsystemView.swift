import Base
import BlockInterface
import NVMeSpec
import Synchronization

/// A subsystem as one reactor sees it: its namespaces in a table that the I/O path indexes, and the reactor's counters.
final class SubsystemView {
    let subsystem: Subsystem
    let namespaces: UnsafeMutablePointer<NamespaceSlot>
    let capacity: Int
    let statistics: UnsafeMutablePointer<Statistics>
    private var open: [UInt32: Namespace] = [:]
    /// Generations that namespaces' slots have had.
    private var generations: UInt32 = 0

    init(_ subsystem: Subsystem, capacity: Int) {
        self.subsystem = subsystem
        self.capacity = capacity
        namespaces = .allocate(capacity: capacity)
        namespaces.initialize(repeating: NamespaceSlot(), count: capacity)
        statistics = .allocate(capacity: 1)
        statistics.initialize(to: Statistics())
        let reference = StatisticsReference(pointer: statistics)
        subsystem.state.withLock { $0.counters.append(reference) }
    }

    deinit {
        let reference = StatisticsReference(pointer: statistics)
        subsystem.state.withLock { state in state.counters.removeAll { $0.pointer == reference.pointer } }
        namespaces.deallocate()
        statistics.deallocate()
    }

    /// Brings the table up to date: opens channels to new namespaces, closes those of removed ones, takes on sizes.
    ///
    /// - Parameter failed: told of each namespace whose device does not open.
    func synchronize(_ blocks: BlockSet, failed: (UInt32, TercetError) -> Void) {
        let current = subsystem.namespaces
        for (nsid, namespace) in open where !current.contains(where: { $0 === namespace }) {
            let slot = namespaces + Int(nsid - 1)
            slot.pointee.isPresent = false
            if slot.pointee.channel != noSlot { blocks.remove(slot.pointee.channel) }
            slot.pointee = NamespaceSlot()
            open[nsid] = nil
        }
        for namespace in current {
            let slot = namespaces + Int(namespace.nsid - 1)
            let geometry = namespace.geometry
            let blockShift = UInt8(geometry.blockSize.trailingZeroBitCount)
            if open[namespace.nsid] == nil || slot.pointee.blockShift != blockShift {
                generations &+= 1
                slot.pointee.generation = generations
            }
            if open[namespace.nsid] == nil {
                open[namespace.nsid] = namespace
                let device = namespace.definition.device
                do {
                    slot.pointee.channel = blocks.add(
                        try device.openChannel(depth: Limits.blockDepth), memory: device.directMemory)
                    slot.pointee.lends = device.directMemory != nil
                } catch {
                    failed(namespace.nsid, error)
                }
            }
            slot.pointee.blockShift = blockShift
            slot.pointee.blockCount = geometry.blockCount
            slot.pointee.memoryAlignment = UInt32(max(1, geometry.memoryAlignment))
            slot.pointee.compareAndWriteBytes = geometry.compareAndWriteSize
            slot.pointee.isReadOnly = namespace.definition.isReadOnly || geometry.isReadOnly
            (slot.pointee.readers, slot.pointee.writers) = subsystem.masks(of: namespace)
            slot.pointee.access = Status(subsystem.anaState(of: namespace.definition.anaGroup))
            slot.pointee.isPresent = true
        }
    }
}

extension Status {
    /// What I/O to a namespace ends in while its ANA group is in a state (NVMe Base, "Asymmetric Namespace Access
    /// States"); without Do Not Retry, for another path may do it.
    fileprivate init(_ state: ANAState) {
        switch state {
        case .optimized, .nonOptimized: self = .success
        case .inaccessible: self = .asymmetricAccessInaccessible
        case .persistentLoss: self = .asymmetricAccessPersistentLoss
        case .change: self = .asymmetricAccessTransition
        }
    }
}
