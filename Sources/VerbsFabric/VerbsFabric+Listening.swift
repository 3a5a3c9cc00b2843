import Base
import CLinux
import CVerbs
import FabricInterface
import Glibc

extension VerbsFabric {
    func startListening(at address: SocketAddress, backlog: Int) throws(TercetError) -> ListenerHandle {
        let handle = ListenerHandle(value: Self.newHandle())
        let id = try createIdentifier(handle.value)
        do throws(TercetError) {
            if address.family == .ipv6 {
                // So that one port can be had on IPv4 and IPv6 side by side; `::` does not take IPv4 requests along.
                var only: Int32 = 1
                _ = rdma_set_option(
                    id, Int32(RDMA_OPTION_ID), Int32(RDMA_OPTION_ID_AFONLY), &only,
                    MemoryLayout<Int32>.size)
            }
            guard let bound = address.withSockaddr({ pointer, _ in rdma_bind_addr(id, pointer) == 0 ? 0 : errno })
            else { throw Self.zoneGone(address) }
            if bound != 0 { throw verbsError("rdma_bind_addr \(address)", bound) }
            if rdma_listen(id, Int32(clamping: backlog)) != 0 { throw verbsError("rdma_listen \(address)", errno) }
        } catch {
            rdma_destroy_id(id)
            throw error
        }
        listeners[handle] = id
        return handle
    }

    /// A new identifier whose events come to this fabric under `number`.
    func createIdentifier(_ number: UInt64) throws(TercetError) -> UnsafeMutablePointer<rdma_cm_id> {
        var id: UnsafeMutablePointer<rdma_cm_id>?
        let context = UnsafeMutableRawPointer(bitPattern: UInt(number))
        guard rdma_create_id(channel, &id, context, RDMA_PS_TCP) == 0, let id else {
            throw verbsError("rdma_create_id", errno)
        }
        return id
    }

    static func zoneGone(_ address: SocketAddress) -> TercetError {
        TercetError(
            call: "address \(address)", errno: ENODEV, reason: "the network interface after % does not exist")
    }
}
