import CVerbs
import FabricInterface
import Glibc

extension VerbsContext {
    /// Completions that were drained before, then those of the completion queue, then those of requests that the device refused.
    @inline(__always)
    func takeCompletions(into completions: UnsafeMutableBufferPointer<WorkCompletion>) -> Int {
        guard let base = completions.baseAddress else { return 0 }
        var taken = 0
        while taken < completions.count, let completion = state.pointee.drained.takeFirst() {
            (base + taken).initialize(to: delivered(completion))
            taken += 1
        }
        while taken < completions.count {
            let wanted = min(Self.pollBatch, completions.count - taken)
            let count = Int(ibv_poll_cq(completionQueue, Int32(wanted), polled))
            // Negative on a device that is gone: its removal is reported by RDMA CM.
            if count <= 0 { break }
            for index in 0..<count {
                guard let completion = translate(polled + index) else { continue }
                (base + taken).initialize(to: delivered(completion))
                taken += 1
            }
            if count < wanted { break }
        }
        while taken < completions.count, let completion = state.pointee.refused.takeFirst() {
            (base + taken).initialize(to: completion)
            taken += 1
        }
        return taken
    }

    /// The completion with the id that the caller gave.
    @inline(__always)
    private func delivered(_ completion: WorkCompletion) -> WorkCompletion {
        guard SharedReceives.isShared(completion.id) else { return completion }
        var completion = completion
        completion.id = state.pointee.sharedReceives.leave(completion.id)
        return completion
    }

    /// The completion in the fabric's terms; `nil` if its queue pair is gone.
    @inline(__always)
    func translate(_ entry: UnsafeMutablePointer<ibv_wc>) -> WorkCompletion? {
        guard let index = state.pointee.queuePairs.index(ofNumber: entry.pointee.qp_num) else {
            returnSharedReceive(entry.pointee.wr_id)
            return nil
        }
        let status = entry.pointee.status
        let kind: CompletionKind =
            switch entry.pointee.opcode {
            case IBV_WC_RECV: .receive
            case IBV_WC_RDMA_WRITE: .rdmaWrite
            case IBV_WC_RDMA_READ: .rdmaRead
            default: .send
            }
        guard status == IBV_WC_SUCCESS else {
            return WorkCompletion(
                id: entry.pointee.wr_id, queuePair: QueuePairHandle(index: index), status: CompletionStatus(status),
                kind: kind, vendorStatus: status.rawValue)
        }
        let invalidated = entry.pointee.wc_flags & IBV_WC_WITH_INV.rawValue != 0
        return WorkCompletion(
            id: entry.pointee.wr_id, queuePair: QueuePairHandle(index: index), status: .success, kind: kind,
            byteCount: entry.pointee.byte_len, invalidated: invalidated,
            invalidatedKey: invalidated ? entry.pointee.invalidated_rkey : 0)
    }
}

extension CompletionStatus {
    init(_ status: ibv_wc_status) {
        switch status {
        case IBV_WC_SUCCESS: self = .success
        case IBV_WC_WR_FLUSH_ERR: self = .flushed
        case IBV_WC_REM_ACCESS_ERR, IBV_WC_REM_INV_REQ_ERR: self = .remoteAccessError
        case IBV_WC_RETRY_EXC_ERR: self = .retryExceeded
        case IBV_WC_RNR_RETRY_EXC_ERR: self = .receiverNotReady
        case IBV_WC_LOC_LEN_ERR, IBV_WC_LOC_PROT_ERR, IBV_WC_LOC_QP_OP_ERR, IBV_WC_LOC_ACCESS_ERR: self = .localError
        default: self = .otherError
        }
    }
}
