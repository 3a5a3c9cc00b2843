import Base
import CLinux
import CVerbs
import FabricInterface
import Glibc
import Synchronization

/// An event channel that nobody reads. Identifiers wait on it between the fabric that gave them away and the one that adopts
/// them. Events of that time (the peer gives up) stay queued there, in the kernel, and move on with the identifier. On the
/// first fabric's channel, that fabric would take such an event and drop it.
private struct TransferChannel: @unchecked Sendable {
    // Unchecked: it exists in a mutex only.

    var channel: UnsafeMutablePointer<rdma_event_channel>?

    static let shared = Mutex(TransferChannel())

    /// The channel, made when first asked for.
    static func open() -> UnsafeMutablePointer<rdma_event_channel>? {
        let address = shared.withLock { transfer -> UInt in
            if transfer.channel == nil { transfer.channel = rdma_create_event_channel() }
            return UInt(bitPattern: transfer.channel)
        }
        return UnsafeMutablePointer(bitPattern: address)
    }
}

extension VerbsFabric {
    func giveAway(_ connection: ConnectionHandle) -> ConnectionTicket {
        guard let entry = connections.removeValue(forKey: connection) else {
            invariantViolated("a connection that is handed over exists")
        }
        invariant(entry.queuePair == nil, "a connection is handed over before it has a queue pair")
        // Numbers are unique, so nothing that still comes for the old one is taken for something else. If the channel
        // cannot be had, the identifier stays on ours, and `adopt` moves it from there.
        if let transfer = TransferChannel.open() { _ = rdma_migrate_id(entry.id, transfer) }
        return ConnectionTicket(value: UInt(bitPattern: entry.id))
    }

    func takeOver(_ ticket: ConnectionTicket) throws(TercetError) -> ConnectionHandle {
        let id = Self.identifier(ticket)
        let handle = ConnectionHandle(value: Self.newHandle())
        // Before the move: the first event may be read right after it.
        id.pointee.context = UnsafeMutableRawPointer(bitPattern: UInt(handle.value))
        if rdma_migrate_id(id, channel) != 0 {
            throw verbsError("rdma_migrate_id", errno)
        }
        connections[handle] = Connection(id: id, phase: .requested)
        return handle
    }

    func refuse(_ ticket: ConnectionTicket) {
        let id = Self.identifier(ticket)
        _ = rdma_reject(id, nil, 0)
        rdma_destroy_id(id)
    }

    private static func identifier(_ ticket: ConnectionTicket) -> UnsafeMutablePointer<rdma_cm_id> {
        guard let id = UnsafeMutablePointer<rdma_cm_id>(bitPattern: ticket.value) else {
            invariantViolated("a ticket comes from handOver")
        }
        return id
    }
}
