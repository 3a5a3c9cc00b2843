import Base
import BlockInterface
import NVMeSpec
import Synchronization

/// A subsystem as one reactor sees it: its namespaces in a table that the I/O path indexes, and the reactor's counters.
final class SubsystemView {
    let subsystem: Subsystem
    let namespaces: NamespaceTable
    /// Counters by the names of hosts (`Subsystem.counterName`).
    private var counters: [String: StatisticsReference] = [:]
    private var open: [UInt32: Namespace] = [:]
    /// Identifiers of namespaces that are to be looked at; `nil` when all have been.
    private var unseen: ArraySlice<UInt32>?
    /// Connects that wait until then.
    private var waiting: [RequestTicket] = []
    /// The states of ANA groups by listener.
    private var accessTables: [(listener: SocketAddress?, table: AccessTable)] = []
    /// Generations that namespaces' slots have had.
    private var generations: UInt32 = 0

    init(_ subsystem: Subsystem, capacity: Int) {
        self.subsystem = subsystem
        namespaces = .allocate(capacity: capacity)
        let table = namespaces
        subsystem.state.withLock { $0.tables.append(table) }
    }

    /// The counters of a host, made when it first connects.
    private func counters(of host: String) -> StatisticsReference {
        if let known = counters[host] { return known }
        let name = subsystem.counterName(of: host)
        if let known = counters[name] { return known }
        let reference = StatisticsReference.allocate()
        counters[name] = reference
        subsystem.add(reference, of: name)
        return reference
    }

    deinit {
        let (own, table) = (Array(counters.values), namespaces)
        subsystem.remove(own)
        subsystem.state.withLock { $0.tables.removeAll { $0 == table } }
        for nsid in open.keys { namespaces[nsid].reservation.deallocate() }
        namespaces.deallocate()
        for (_, table) in accessTables { table.deallocate() }
        for reference in own { reference.deallocate() }
    }

    /// The states of ANA groups for hosts that have come by a listener; kept up to date as long as this view is there.
    private func access(at listener: SocketAddress?) -> AccessTable {
        if let known = accessTables.first(where: { $0.listener == listener }) { return known.table }
        let table = AccessTable.allocate()
        table.takeOn(subsystem.state.withLock { $0.anaStates }, at: listener)
        accessTables.append((listener, table))
        return table
    }

    /// Takes on the states of ANA groups.
    func renewAccess() {
        let states = subsystem.state.withLock { $0.anaStates }
        for (listener, table) in accessTables { table.takeOn(states, at: listener) }
    }

    /// The parts of it that an I/O queue of a controller's host looks at.
    func connected(_ controller: Controller) -> ConnectedView {
        ConnectedView(
            namespaces: namespaces, access: access(at: controller.listener),
            statistics: counters(of: controller.hostNQN), host: controller.host.index)
    }

    /// Forgets what reservations say: for tests that show that it is noticed.
    func letEverybodyIn() {
        for namespace in subsystem.namespaces { namespaces[namespace.nsid].reservation.letEverybodyIn() }
    }

    /// All namespaces have been looked at.
    var isComplete: Bool { unseen == nil }

    /// Keeps a Connect that waits until all namespaces have been looked at.
    func keep(_ ticket: RequestTicket) { waiting.append(ticket) }

    func takeWaiting() -> [RequestTicket] {
        defer { waiting = [] }
        return waiting
    }

    /// Begins to look at all namespaces anew.
    func renew(_ blocks: BlockSet) {
        let identifiers = subsystem.state.withLock { $0.namespaces.identifiers }
        unseen = identifiers[...]
        guard open.isEmpty else { return }
        open.reserveCapacity(identifiers.count)
        blocks.reserve(identifiers.count)
    }

    /// Looks at some of the namespaces that have not been looked at; `true` when none is left.
    ///
    /// - Parameter failed: told of each namespace whose device does not open.
    func advance(_ blocks: BlockSet, failed: (UInt32, TercetError) -> Void) -> Bool {
        var openings = 0
        for _ in 0..<Limits.namespacesPerRound where openings < Limits.openingsPerRound {
            // A subsystem that has been removed has no namespaces: those that are open here are closed.
            guard let nsid = subsystem.isRemoved ? open.keys.first : unseen?.popFirst() else { break }
            if synchronize(nsid, blocks, failed: failed) { openings += 1 }
        }
        guard subsystem.isRemoved ? open.isEmpty : unseen?.isEmpty != false else { return false }
        unseen = nil
        return true
    }

    /// Brings a place of the table up to date: opens a channel to a new namespace, closes that of a removed one, takes on a
    /// size and who may read and write.
    ///
    /// - Parameter failed: told of a namespace whose device does not open.
    /// - Returns: whether a channel was to be opened.
    @discardableResult
    func synchronize(_ nsid: UInt32, _ blocks: BlockSet, failed: (UInt32, TercetError) -> Void) -> Bool {
        let current = subsystem.namespace(nsid)
        if let former = open[nsid], former !== current {
            let channel = namespaces[nsid].channel
            namespaces[nsid].reservation.deallocate()
            namespaces[nsid] = NamespaceSlot()
            namespaces.count(nsid) { $0 = NamespaceCounters() }
            if !channel.isNone { blocks.remove(channel) }
            open[nsid] = nil
        }
        guard let namespace = current else { return false }
        let isNew = open[nsid] == nil
        // Memory that has never been written holds zeroes, which are no channel's number.
        var slot = isNew ? NamespaceSlot() : namespaces[nsid]
        let geometry = namespace.geometry
        let blockShift = UInt8(geometry.blockSize.trailingZeroBitCount)
        if isNew || slot.blockShift != blockShift {
            generations &+= 1
            slot.generation = generations
        }
        if isNew {
            open[nsid] = namespace
            let device = namespace.definition.device
            do {
                slot.channel = blocks.add(
                    try device.openChannel(depth: Limits.blockDepth, for: .nvme), memory: device.directMemory)
                slot.lends = device.lendsMemory
            } catch {
                failed(nsid, error)
            }
        }
        slot.blockShift = blockShift
        slot.blockCount = geometry.blockCount
        slot.memoryAlignment = UInt32(max(1, geometry.memoryAlignment))
        slot.compareAndWriteBytes = geometry.compareAndWriteSize
        slot.isReadOnly = namespace.definition.isReadOnly || geometry.isReadOnly
        namespace.reservation.withLock { slot.reservation.takeOn($0) }
        slot.anaGroup = UInt8(truncatingIfNeeded: namespace.definition.anaGroup)
        slot.lastLoss = namespace.lastLoss
        slot.isPresent = true
        namespaces[nsid] = slot
        return isNew
    }
}
