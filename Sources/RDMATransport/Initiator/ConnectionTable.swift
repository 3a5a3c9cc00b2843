import Base
import FabricInterface
import InitiatorTransport

/// The connections of an initiator: their slots, and by what the fabric calls them.
struct ConnectionTable: ~Copyable {
    private var slots: SlotTable<HostConnectionIndex, HostQueuePair>
    private var places: [ConnectionHandle: HostConnectionIndex] = [:]
    private var requests: [HostConnectionRequest?]
    private var memory: [CapsuleMemory?]
    /// Connections that are being made or ended: the connection manager is asked about them in each round.
    private var unsettled: [HostConnectionIndex] = []

    /// - Parameter capacity: connections at once.
    init(capacity: Int) {
        slots = SlotTable(capacity: capacity, initial: HostQueuePair())
        requests = Array(repeating: nil, count: capacity)
        memory = Array(repeating: nil, count: capacity)
    }

    var capacity: Int { slots.capacity }

    @inline(__always)
    subscript(index: HostConnectionIndex) -> HostQueuePair {
        _read { yield slots[index] }
        nonmutating _modify { yield &slots[index] }
    }

    /// The connection that a completion is for.
    @inline(__always)
    func check(_ index: HostConnectionIndex) {
        invariant(index.offset < slots.capacity, "work belongs to a connection of the transport")
    }

    var isSettled: Bool { unsettled.isEmpty }

    /// Connections whose queue pairs await their work, in the order in which they began to close.
    var closing: [HostConnectionIndex] { unsettled.filter { slots[$0].state == .closing } }

    /// All connections, in the order of their indices.
    var all: [HostConnectionIndex] { slots.usedIndices.filter { slots[$0].state != .free } }

    func index(of connection: ConnectionHandle) -> HostConnectionIndex? { places[connection] }

    /// The request of a connection that is being made.
    func request(_ index: HostConnectionIndex) -> HostConnectionRequest? { requests[index.offset] }

    var hasRoom: Bool { slots.available > 0 }

    /// Takes a slot for a connection whose route is being looked for. There is room.
    mutating func take(_ connection: ConnectionHandle, _ request: HostConnectionRequest) -> HostConnectionIndex {
        guard let index = slots.take() else { invariantViolated("a connection is made where there is room") }
        slots[index] = HostQueuePair()
        slots[index].state.move(to: .resolving)
        slots[index].connection = connection
        places[connection] = index
        requests[index.offset] = request
        unsettled.append(index)
        return index
    }

    /// A connection has its queue pair.
    mutating func equip(_ index: HostConnectionIndex, _ memory: CapsuleMemory) { self.memory[index.offset] = memory }

    mutating func becameLive(_ index: HostConnectionIndex) {
        slots[index].state.move(to: .live)
        requests[index.offset] = nil
        unsettled.removeAll { $0 == index }
    }

    mutating func beganClosing(_ index: HostConnectionIndex, deadline: MonotonicTime) {
        slots[index].state.move(to: .closing)
        slots[index].closingDeadline = deadline
        requests[index.offset] = nil
        if !unsettled.contains(index) { unsettled.append(index) }
    }

    /// Frees the slot of a connection that the fabric has destroyed: no device reaches its memory any more.
    mutating func release(_ index: HostConnectionIndex) {
        if let device = slots[index].device, slots[index].depth > 0 {
            device._withUnsafeGuaranteedRef { $0.giveBack(depth: slots[index].depth) }
        }
        places[slots[index].connection] = nil
        requests[index.offset] = nil
        memory[index.offset] = nil
        unsettled.removeAll { $0 == index }
        slots[index].state.move(to: .free)
        slots.give(index)
    }
}
