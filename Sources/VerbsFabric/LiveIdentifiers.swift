import CVerbs
import Synchronization

/// The RDMA CM identifiers whose queue pairs complete into one completion queue: what to end when that overflows. The
/// watch of the device's events reaches them from its own thread.
final class LiveIdentifiers: Sendable {
    /// Addresses of `rdma_cm_id`s.
    private let addresses = Mutex<Set<UInt>>([])

    func insert(_ id: UnsafeMutablePointer<rdma_cm_id>) {
        addresses.withLock { _ = $0.insert(UInt(bitPattern: id)) }
    }

    /// Before the queue pair is destroyed: nobody uses the identifier afterwards.
    func remove(_ id: UnsafeMutablePointer<rdma_cm_id>) {
        addresses.withLock { _ = $0.remove(UInt(bitPattern: id)) }
    }

    /// Disconnects all of them; their owner hears of it from RDMA CM.
    func disconnectAll() {
        addresses.withLock { addresses in
            for address in addresses {
                if let id = UnsafeMutablePointer<rdma_cm_id>(bitPattern: address) { rdma_disconnect(id) }
            }
        }
    }
}
