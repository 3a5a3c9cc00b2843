import Base
import CLinux
import CVerbs
import FabricInterface
import Glibc

extension VerbsContext {
    func makeQueuePair(
        for connection: ConnectionHandle, _ options: QueuePairOptions
    ) throws(TercetError) -> QueuePairHandle {
        let id = try fabric.identifierForQueuePair(of: connection, in: self)
        try check(options)
        var attributes = ibv_qp_init_attr()
        attributes.qp_type = IBV_QPT_RC
        attributes.qp_context = UnsafeMutableRawPointer(id)
        attributes.sq_sig_all = 0
        attributes.send_cq = completionQueue
        attributes.recv_cq = completionQueue
        attributes.srq = options.usesSharedReceiveQueue ? sharedReceiveQueue : nil
        // Providers write what they grant into `cap`, also when they fail: it is set anew for each attempt. Inline room is
        // a wish, and how much a device has is only known by asking.
        var inline = UInt32(options.maxInlineData)
        while true {
            attributes.cap.max_send_wr = UInt32(options.sendEntries)
            attributes.cap.max_recv_wr = options.usesSharedReceiveQueue ? 0 : UInt32(options.receiveEntries)
            attributes.cap.max_send_sge = UInt32(options.sendSegments)
            attributes.cap.max_recv_sge = options.usesSharedReceiveQueue ? 0 : 1
            attributes.cap.max_inline_data = inline
            if rdma_create_qp(id, device.protectionDomain, &attributes) == 0 { break }
            let code = errno
            if inline == 0 {
                throw verbsError(
                    "rdma_create_qp with \(options.sendEntries) send entries on \(device.name)", code,
                    advice: [
                        ENOMEM:
                            "the device has no room for another queue pair (it has \(limits.maxQueuePairs)) of this "
                            + "size, or the limit on locked memory (`ulimit -l`, LimitMEMLOCK=) is too low",
                        EINVAL: "the peer has given the connection up, or the device does not take a queue pair of "
                            + "this size",
                    ])
            }
            inline /= 2
        }
        let queuePair = id.pointee.qp!
        identifiers.insert(id)
        let limit = inline == 0 ? 0 : min(attributes.cap.max_inline_data, UInt32(options.maxInlineData))
        let index = state.pointee.queuePairs.insert(queuePair, inlineDataLimit: limit)
        fabric.attach(QueuePairHandle(index: index), of: self, to: connection)
        return QueuePairHandle(index: index)
    }

    /// Refuses options that the device would refuse, in words that its errno would not have.
    private func check(_ options: QueuePairOptions) throws(TercetError) {
        let operation = "queue pair on \(device.name)"
        func refuse(_ reason: String) -> TercetError { TercetError(call: operation, errno: EINVAL, reason: reason) }
        if options.sendEntries > limits.maxWorkRequests || options.receiveEntries > limits.maxWorkRequests {
            throw refuse(
                "\(max(options.sendEntries, options.receiveEntries)) entries asked for, the device has at most "
                    + "\(limits.maxWorkRequests); use a smaller queue depth")
        }
        if options.sendSegments > limits.maxScatterGather {
            throw refuse("\(options.sendSegments) segments asked for, the device has \(limits.maxScatterGather)")
        }
        if options.usesSharedReceiveQueue && sharedReceiveQueue == nil {
            throw refuse("the context has no shared receive queue; give the queue pair receive entries of its own")
        }
    }

    @inline(__always)
    func slot(_ queuePair: QueuePairHandle) -> UnsafeMutablePointer<QueuePairSlot> {
        invariant(
            Int(queuePair.index) < state.pointee.queuePairs.capacity, "a queue pair handle comes from this context")
        return state.pointee.queuePairs.slots + Int(queuePair.index)
    }

    static func fail(_ queuePair: UnsafeMutablePointer<ibv_qp>) {
        var attributes = ibv_qp_attr()
        attributes.qp_state = IBV_QPS_ERR
        // Fails only on a device that is gone: nothing moves there any more either.
        _ = ibv_modify_qp(queuePair, &attributes, Int32(IBV_QP_STATE.rawValue))
    }

    /// Destroys a queue pair, and with it the completions of it that have not been delivered: the device may use its
    /// number again, so none may stay in the completion queue. Shared receives among them go back into their queue.
    func destroyQueuePair(_ queuePair: QueuePairHandle, of id: UnsafeMutablePointer<rdma_cm_id>) {
        // Some devices take a queue pair's completions out of the queue when it is destroyed, so they are taken before;
        // others leave them in, where more may have come meanwhile, so they are taken after.
        if let live = slot(queuePair).pointee.queuePair { Self.fail(live) }
        drain()
        identifiers.remove(id)
        rdma_destroy_qp(id)
        state.pointee.queuePairs.remove(queuePair.index)
        state.pointee.drained.removeAll(of: queuePair) { returnSharedReceive($0.id) }
        state.pointee.refused.removeAll(of: queuePair) { _ in }
        drain()
    }

    /// Moves what is in the completion queue into our own memory; what belongs to no queue pair is done with.
    private func drain() {
        while true {
            let count = ibv_poll_cq(completionQueue, Int32(Self.pollBatch), polled)
            if count <= 0 { break }
            for index in 0..<Int(count) {
                guard let completion = translate(polled + index) else { continue }
                state.pointee.drained.append(completion)
            }
        }
    }
}
