import FabricInterface
import Glibc

/// The one device of a network, as one fabric uses it.
public final class LoopbackContext: FabricContext {
    let network: LoopbackNetwork
    private var queuePairs: [UInt32: LoopbackQueuePair] = [:]
    private var nextQueuePair: UInt32 = 0
    private var completions: [Finished] = []
    private var sharedReceives: [ReceiveRequest] = []

    /// A completion that has not been polled, with the shared receive that it consumed.
    private struct Finished {
        var completion: WorkCompletion
        var shared: ReceiveRequest?
    }

    init(network: LoopbackNetwork) { self.network = network }

    public override var deviceName: String { "loopback0" }
    public override var limits: DeviceLimits { network.limits }
    public override var domain: UInt { UInt(bitPattern: ObjectIdentifier(network)) }

    public override func register(
        _ memory: UnsafeMutableRawBufferPointer, access: MemoryAccess
    ) throws(FabricError) -> MemoryRegion {
        guard network.regionCount < network.limits.maxMemoryRegions else {
            throw FabricError(operation: "register", code: ENOMEM, reason: "the device has no memory region left")
        }
        let key = network.register(memory, access)
        return MemoryRegion(handle: UInt(key), localKey: key, remoteKey: key)
    }

    public override func deregister(_ region: MemoryRegion) { network.deregister(region.localKey) }

    public override func createQueuePair(
        for connection: ConnectionHandle, _ options: QueuePairOptions
    ) throws(FabricError) -> QueuePairHandle {
        guard let entry = network.connections[connection], entry.queuePair == nil else {
            throw FabricError(operation: "create queue pair", code: EINVAL, reason: "no such connection")
        }
        let limit = network.limits.maxWorkRequests
        guard options.sendEntries <= limit, options.receiveEntries <= limit else {
            throw FabricError(operation: "create queue pair", code: EINVAL, reason: "the device has \(limit) entries")
        }
        let handle = QueuePairHandle(index: nextQueuePair)
        nextQueuePair += 1
        let queuePair = LoopbackQueuePair(
            handle: handle, context: self, connection: entry, usesSharedReceives: options.usesSharedReceiveQueue)
        queuePair.inlineBytes = min(options.maxInlineData, 64)
        queuePairs[handle.index] = queuePair
        entry.queuePair = queuePair
        return handle
    }

    func remove(_ queuePair: LoopbackQueuePair) {
        queuePairs[queuePair.handle.index] = nil
        // Shared receives that nobody will hear of any more go back.
        let gone = completions.filter { $0.completion.queuePair == queuePair.handle }
        completions.removeAll { $0.completion.queuePair == queuePair.handle }
        sharedReceives += gone.compactMap(\.shared)
    }

    public override func inlineDataLimit(of queuePair: QueuePairHandle) -> Int {
        queuePairs[queuePair.index]?.inlineBytes ?? 0
    }

    func complete(_ completion: WorkCompletion, shared: ReceiveRequest? = nil) {
        completions.append(Finished(completion: completion, shared: shared))
    }

    public override func poll(into batch: UnsafeMutableBufferPointer<WorkCompletion>) -> Int {
        let count = min(batch.count, completions.count)
        for index in 0..<count { batch[index] = completions[index].completion }
        completions.removeFirst(count)
        return count
    }

    public override func postSharedReceives(_ requests: UnsafeBufferPointer<ReceiveRequest>) {
        sharedReceives += requests
        for queuePair in queuePairs.values.sorted(by: { $0.handle.index < $1.handle.index }) {
            queuePair.connection.peer?.queuePair.map { $0.context.progress($0) }
        }
    }

    public override func postReceives(
        _ requests: UnsafeBufferPointer<ReceiveRequest>, to handle: QueuePairHandle
    ) {
        guard let queuePair = queuePairs[handle.index] else { return }
        queuePair.receives += requests
        if queuePair.state == .error { return queuePair.flush() }
        if let peer = queuePair.connection.peer?.queuePair { peer.context.progress(peer) }
    }

    public override func post(_ requests: UnsafeBufferPointer<WorkRequest>) {
        for request in requests {
            guard let queuePair = queuePairs[request.queuePair.index] else { continue }
            queuePair.waiting.append(request)
            if queuePair.state == .error { queuePair.flush() } else { progress(queuePair) }
        }
    }

    public override func fail(_ handle: QueuePairHandle) { queuePairs[handle.index]?.fail() }

    public override var notificationDescriptor: Int32 { -1 }
    public override func armNotification() {}
    public override func acknowledgeNotification() {}

    // MARK: Work

    private func takeReceive(_ queuePair: LoopbackQueuePair) -> ReceiveRequest? {
        if queuePair.usesSharedReceives { return sharedReceives.isEmpty ? nil : sharedReceives.removeFirst() }
        return queuePair.receives.isEmpty ? nil : queuePair.receives.removeFirst()
    }

    /// Does the work of a queue pair, in order, as far as the peer takes it.
    func progress(_ queuePair: LoopbackQueuePair) {
        while queuePair.state == .ready, let work = queuePair.waiting.first {
            guard let peer = queuePair.connection.peer?.queuePair, peer.state == .ready else {
                // The peer is gone, or not there yet; the connection's end flushes what waits.
                return
            }
            guard let status = perform(work, peer) else { return }
            queuePair.waiting.removeFirst()
            if status != .success || work.flags.contains(.signaled) {
                complete(
                    WorkCompletion(id: work.id, queuePair: queuePair.handle, status: status, kind: work.opcode.kind))
            }
            if status != .success { queuePair.connection.fabric.breakConnection(queuePair.connection) }
        }
    }

    /// Does one piece of work; `nil` when the peer has no receive for it.
    private func perform(_ work: WorkRequest, _ peer: LoopbackQueuePair) -> CompletionStatus? {
        guard let pieces = gather(work, writes: work.opcode == .rdmaRead) else { return .localError }
        let length = pieces.reduce(0) { $0 + $1.count }
        switch work.opcode {
        case .send, .sendWithInvalidate:
            guard let receive = peer.context.takeReceive(peer) else { return nil }
            let segment = receive.segment
            guard length <= Int(segment.length),
                let memory = network.memory(segment.address, Int(segment.length), key: segment.localKey, .localWrite)
            else {
                peer.context.complete(
                    WorkCompletion(id: receive.id, queuePair: peer.handle, status: .localError, kind: .receive),
                    shared: peer.usesSharedReceives ? receive : nil)
                return .otherError
            }
            copy(pieces, to: memory)
            let invalidates = work.opcode == .sendWithInvalidate
            if invalidates { network.deregister(work.remoteKey) }
            peer.context.complete(
                WorkCompletion(
                    id: receive.id, queuePair: peer.handle, status: .success, kind: .receive,
                    byteCount: UInt32(length), invalidated: invalidates,
                    invalidatedKey: invalidates ? work.remoteKey : 0),
                shared: peer.usesSharedReceives ? receive : nil)
            return .success
        case .rdmaWrite:
            guard
                let memory = network.memory(work.remoteAddress, length, key: work.remoteKey, .remoteWrite)
            else { return .remoteAccessError }
            copy(pieces, to: memory)
            return .success
        case .rdmaRead:
            guard
                var memory = network.memory(work.remoteAddress, length, key: work.remoteKey, .remoteRead)
            else { return .remoteAccessError }
            for piece in pieces {
                piece.baseAddress!.copyMemory(from: memory, byteCount: piece.count)
                memory += piece.count
            }
            return .success
        }
    }

    private func copy(_ pieces: [UnsafeMutableRawBufferPointer], to memory: UnsafeMutableRawPointer) {
        var memory = memory
        for piece in pieces {
            memory.copyMemory(from: piece.baseAddress!, byteCount: piece.count)
            memory += piece.count
        }
    }

    /// The local pieces; `nil` where a key does not cover one.
    private func gather(_ work: WorkRequest, writes: Bool) -> [UnsafeMutableRawBufferPointer]? {
        var pieces: [UnsafeMutableRawBufferPointer] = []
        let segments = [work.segments.0, work.segments.1].prefix(Int(work.segmentCount))
        for segment in segments where segment.length > 0 {
            guard
                let memory = network.memory(
                    segment.address, Int(segment.length), key: segment.localKey, writes ? .localWrite : [])
            else { return nil }
            pieces.append(UnsafeMutableRawBufferPointer(start: memory, count: Int(segment.length)))
        }
        return pieces
    }
}

extension WorkOpcode {
    var kind: CompletionKind {
        switch self {
        case .send, .sendWithInvalidate: .send
        case .rdmaWrite: .rdmaWrite
        case .rdmaRead: .rdmaRead
        }
    }
}
