import Base
import CVerbs
import FabricInterface
import Glibc

extension VerbsContext {
    @inline(__always)
    func postWork(_ requests: UnsafeBufferPointer<WorkRequest>) {
        guard let base = requests.baseAddress else { return }
        var start = 0
        while start < requests.count {
            let handle = base[start].queuePair
            let limit = min(requests.count, start + sendChain.length)
            var end = start
            while end < limit && base[end].queuePair == handle {
                sendChain.fill(end - start, base[end])
                end += 1
            }
            sendChain.requests[end - start - 1].next = nil
            postChain(of: base + start, count: end - start, to: handle)
            start = end
        }
    }

    @inline(__always)
    private func postChain(of requests: UnsafePointer<WorkRequest>, count: Int, to handle: QueuePairHandle) {
        guard let queuePair = slot(handle).pointee.queuePair else {
            invariantViolated("work is posted to a queue pair that exists")
        }
        var bad: UnsafeMutablePointer<ibv_send_wr>?
        if _fastPath(ibv_post_send(queuePair, sendChain.requests, &bad) == 0) { return }
        let posted = bad.map { $0 - sendChain.requests } ?? 0
        refuse(requests + posted, count: count - posted, of: queuePair)
    }

    /// Takes the queue pair to the error state and lets what the device did not take complete all the same.
    @inline(never)
    private func refuse(
        _ requests: UnsafePointer<WorkRequest>, count: Int, of queuePair: UnsafeMutablePointer<ibv_qp>
    ) {
        Self.fail(queuePair)
        for index in 0..<count {
            let kind: CompletionKind =
                switch requests[index].opcode {
                case .send, .sendWithInvalidate: .send
                case .rdmaWrite: .rdmaWrite
                case .rdmaRead: .rdmaRead
                }
            state.pointee.refused.append(
                WorkCompletion(
                    id: requests[index].id, queuePair: requests[index].queuePair, status: .localError, kind: kind))
        }
    }

    @inline(__always)
    func postShared(_ requests: UnsafeBufferPointer<ReceiveRequest>) {
        guard let base = requests.baseAddress else { return }
        guard let sharedReceiveQueue else { invariantViolated("the context has a shared receive queue") }
        var start = 0
        while start < requests.count {
            let count = min(requests.count - start, receiveChain.length)
            for index in 0..<count { receiveChain.fill(index, state.pointee.sharedReceives.enter(base[start + index])) }
            receiveChain.requests[count - 1].next = nil
            var bad: UnsafeMutablePointer<ibv_recv_wr>?
            if _slowPath(ibv_post_srq_recv(sharedReceiveQueue, receiveChain.requests, &bad) != 0) {
                loseSharedReceives()
                return
            }
            start += count
        }
    }

    /// Puts a shared receive back into its queue whose completion nobody is left to take; other work is done with.
    @inline(never)
    func returnSharedReceive(_ id: UInt64) {
        guard SharedReceives.isShared(id), let sharedReceiveQueue else { return }
        receiveChain.fill(0, state.pointee.sharedReceives.request(id))
        receiveChain.requests[0].next = nil
        var bad: UnsafeMutablePointer<ibv_recv_wr>?
        if ibv_post_srq_recv(sharedReceiveQueue, receiveChain.requests, &bad) != 0 { loseSharedReceives() }
    }

    /// The device no longer takes receives. Every connection that lives on them ends, as one whose device is gone does.
    @inline(never)
    private func loseSharedReceives() {
        for index in 0..<state.pointee.queuePairs.capacity {
            guard let queuePair = state.pointee.queuePairs.slots[index].queuePair, queuePair.pointee.srq != nil else {
                continue
            }
            fabric.lose(QueuePairHandle(index: UInt32(index)), of: self)
        }
    }

    func postOwn(_ requests: UnsafeBufferPointer<ReceiveRequest>, to handle: QueuePairHandle) {
        guard let base = requests.baseAddress else { return }
        guard let queuePair = slot(handle).pointee.queuePair else {
            invariantViolated("receives are posted to a queue pair that exists")
        }
        var start = 0
        while start < requests.count {
            let count = min(requests.count - start, receiveChain.length)
            for index in 0..<count { receiveChain.fill(index, base[start + index]) }
            receiveChain.requests[count - 1].next = nil
            var bad: UnsafeMutablePointer<ibv_recv_wr>?
            if _slowPath(ibv_post_recv(queuePair, receiveChain.requests, &bad) != 0) {
                let posted = start + (bad.map { $0 - receiveChain.requests } ?? 0)
                Self.fail(queuePair)
                for index in posted..<requests.count {
                    state.pointee.refused.append(
                        WorkCompletion(id: base[index].id, queuePair: handle, status: .localError, kind: .receive))
                }
                return
            }
            start += count
        }
    }
}
