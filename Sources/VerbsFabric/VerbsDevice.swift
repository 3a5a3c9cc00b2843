import Base
import CVerbs
import FabricInterface
import Glibc
import Synchronization

/// A device of this process and its one protection domain, shared by the contexts of all reactors, so that memory is
/// registered once and used by all of them.
///
/// Safe to use from any thread: what it holds never changes, and verbs calls are thread-safe.
final class VerbsDevice: @unchecked Sendable {
    // Unchecked: its fields never change, and verbs calls may be made from any thread.

    let verbs: UnsafeMutablePointer<ibv_context>
    let protectionDomain: UnsafeMutablePointer<ibv_pd>
    let name: String
    let limits: DeviceLimits

    private let asyncEvents: AsyncEventWatch

    /// Keeps RDMA CM from closing the device while this object has a protection domain in it.
    private let hold: UnsafeMutablePointer<UnsafeMutablePointer<ibv_context>?>?

    private struct Weak: @unchecked Sendable {
        // Unchecked: it is used under the lock of `devices` only.

        weak var device: VerbsDevice?
    }

    /// The devices in use, by the address of their `ibv_context`: RDMA CM opens each device once per process.
    private static let devices = Mutex<[UInt: Weak]>([:])

    /// The device that RDMA CM opened as `verbs`.
    static func shared(_ verbs: UnsafeMutablePointer<ibv_context>) throws(TercetError) -> VerbsDevice {
        let result = devices.withLock { devices -> Result<VerbsDevice, TercetError> in
            let key = UInt(bitPattern: verbs)
            if let device = devices[key]?.device { return .success(device) }
            do throws(TercetError) {
                let device = try VerbsDevice(UnsafeMutablePointer(bitPattern: key)!)
                devices[key] = Weak(device: device)
                return .success(device)
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private init(_ verbs: UnsafeMutablePointer<ibv_context>) throws(TercetError) {
        self.verbs = verbs
        name = ibv_get_device_name(verbs.pointee.device).map { String(cString: $0) } ?? "unnamed"
        var attributes = ibv_device_attr()
        let queried = ibv_query_device(verbs, &attributes)
        if queried != 0 { throw verbsError("ibv_query_device \(name)", queried) }
        var port = ibv_port_attr()
        let queriedPort = tercet_query_port(verbs, 1, &port)
        if queriedPort != 0 { throw verbsError("ibv_query_port \(name)", queriedPort) }
        limits = DeviceLimits(
            attributes, port, isIWARP: verbs.pointee.device.pointee.transport_type == IBV_TRANSPORT_IWARP)
        asyncEvents = try AsyncEventWatch(verbs, name: name)
        guard let protectionDomain = ibv_alloc_pd(verbs) else { throw verbsError("ibv_alloc_pd \(name)", errno) }
        self.protectionDomain = protectionDomain
        hold = rdma_get_devices(nil)
    }

    deinit {
        // Refused while memory is still registered: the domain then stays until the process ends.
        ibv_dealloc_pd(protectionDomain)
        if let hold { rdma_free_devices(hold) }
    }

    func register(
        _ memory: UnsafeMutableRawBufferPointer, access: MemoryAccess
    ) throws(TercetError) -> MemoryRegion {
        var flags: UInt32 = 0
        if !access.isDisjoint(with: [.localWrite, .remoteWrite]) { flags |= IBV_ACCESS_LOCAL_WRITE.rawValue }
        if access.contains(.remoteRead) { flags |= IBV_ACCESS_REMOTE_READ.rawValue }
        // An iWARP device takes the answer to a READ as a tagged write by the peer (RFC 5040, section 5.4).
        if access.contains(.remoteWrite) || (limits.isIWARP && access.contains(.localWrite)) {
            flags |= IBV_ACCESS_REMOTE_WRITE.rawValue
        }
        guard let region = ibv_reg_mr(protectionDomain, memory.baseAddress, memory.count, Int32(flags)) else {
            throw verbsError(
                "ibv_reg_mr \(memory.count) bytes on \(name)", errno,
                advice: [
                    EFAULT: "the memory is not mapped, or is mapped read-only and was to be written",
                    ENOMEM: "the limit on locked memory (`ulimit -l`, LimitMEMLOCK=) is too low, or the device's "
                        + "\(limits.maxMemoryRegions) memory regions are used up",
                ])
        }
        return MemoryRegion(
            handle: UInt(bitPattern: region), localKey: region.pointee.lkey, remoteKey: region.pointee.rkey)
    }

    static func deregister(_ region: MemoryRegion) {
        guard let region = UnsafeMutablePointer<ibv_mr>(bitPattern: region.handle) else { return }
        ibv_dereg_mr(region)
    }
}

extension DeviceLimits {
    init(_ device: ibv_device_attr, _ port: ibv_port_attr, isIWARP: Bool) {
        let perRead = device.max_sge_rd > 0 ? Int(device.max_sge_rd) : isIWARP ? 1 : Int(device.max_sge)
        self.init(
            maxQueuePairs: Int(device.max_qp), maxWorkRequests: Int(device.max_qp_wr),
            maxCompletionQueueEntries: Int(device.max_cqe), maxSharedReceiveWorkRequests: Int(device.max_srq_wr),
            maxScatterGather: Int(device.max_sge), maxScatterGatherPerRead: perRead,
            maxMemoryRegions: Int(device.max_mr), maxReadsAsInitiator: Int(device.max_qp_init_rd_atom),
            maxReadsAsResponder: Int(device.max_qp_rd_atom), maxMessageSize: UInt64(port.max_msg_sz),
            isIWARP: isIWARP,
            supportsSendWithInvalidate: device.device_cap_flags & IBV_DEVICE_MEM_MGT_EXTENSIONS.rawValue != 0)
    }
}
