import CVerbs
import FabricInterface
import Glibc

/// Send work requests in memory that is allocated once, linked to be posted with one doorbell.
struct SendChain: BitwiseCopyable {
    let length: Int
    let requests: UnsafeMutablePointer<ibv_send_wr>
    private let segments: UnsafeMutablePointer<ibv_sge>

    /// Lives as long as the process or until `deallocate`.
    init(length: Int) {
        self.length = length
        requests = .allocate(capacity: length)
        requests.initialize(repeating: ibv_send_wr(), count: length)
        segments = .allocate(capacity: length * 2)
        segments.initialize(repeating: ibv_sge(), count: length * 2)
        for index in 0..<length { requests[index].sg_list = segments + index * 2 }
    }

    func deallocate() {
        requests.deallocate()
        segments.deallocate()
    }

    /// Writes one request into the chain's place `index`, linked to the place after it.
    @inline(__always)
    func fill(_ index: Int, _ work: WorkRequest) {
        let request = requests + index
        let list = segments + index * 2
        request.pointee.wr_id = work.id
        request.pointee.next = request + 1
        list[0] = ibv_sge(work.segments.0)
        list[1] = ibv_sge(work.segments.1)
        request.pointee.num_sge = Int32(work.segmentCount)
        request.pointee.send_flags = work.flags.verbs
        request.pointee.wr.rdma.remote_addr = work.remoteAddress
        // Soft-iWARP's provider takes the key to invalidate from here and not from `invalidate_rkey`.
        request.pointee.wr.rdma.rkey = work.remoteKey
        switch work.opcode {
        case .send:
            request.pointee.opcode = IBV_WR_SEND
        case .sendWithInvalidate:
            request.pointee.opcode = IBV_WR_SEND_WITH_INV
            request.pointee.invalidate_rkey = work.remoteKey
        case .rdmaWrite:
            request.pointee.opcode = IBV_WR_RDMA_WRITE
        case .rdmaRead:
            request.pointee.opcode = IBV_WR_RDMA_READ
        }
    }
}

/// Receive work requests in memory that is allocated once, linked to be posted with one doorbell.
struct ReceiveChain: BitwiseCopyable {
    let length: Int
    let requests: UnsafeMutablePointer<ibv_recv_wr>
    private let segments: UnsafeMutablePointer<ibv_sge>

    /// Lives as long as the process or until `deallocate`.
    init(length: Int) {
        self.length = length
        requests = .allocate(capacity: length)
        requests.initialize(repeating: ibv_recv_wr(), count: length)
        segments = .allocate(capacity: length)
        segments.initialize(repeating: ibv_sge(), count: length)
        for index in 0..<length {
            requests[index].sg_list = segments + index
            requests[index].num_sge = 1
        }
    }

    func deallocate() {
        requests.deallocate()
        segments.deallocate()
    }

    @inline(__always)
    func fill(_ index: Int, _ receive: ReceiveRequest) {
        requests[index].wr_id = receive.id
        requests[index].next = requests + index + 1
        segments[index] = ibv_sge(receive.segment)
    }
}

extension ibv_sge {
    @inline(__always)
    fileprivate init(_ element: ScatterGatherElement) {
        self.init(addr: element.address, length: element.length, lkey: element.localKey)
    }
}

extension WorkFlags {
    @inline(__always)
    fileprivate var verbs: UInt32 {
        var result: UInt32 = 0
        if contains(.signaled) { result |= IBV_SEND_SIGNALED.rawValue }
        if contains(.fence) { result |= IBV_SEND_FENCE.rawValue }
        if contains(.inline) { result |= IBV_SEND_INLINE.rawValue }
        if contains(.solicited) { result |= IBV_SEND_SOLICITED.rawValue }
        return result
    }
}
