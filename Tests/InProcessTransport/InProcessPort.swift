import Base
import NVMeSpec
import TargetInterface
import TargetTransport

/// The port of an `InProcessTransport`. Orders are carried out at once; their events come with the next poll.
final class InProcessPort: TransportPort {
    let traits: PortTraits
    private let capsules: UnsafeMutableRawBufferPointer
    private let stride: Int
    private var freeCapsules: [UInt32]
    private var queues: [InProcessQueue?]
    private var events: [TransportEvent] = []
    /// Data of hosts that are to be fetched, by the token of the data's shape.
    private var outgoing: [UInt64: [UInt8]] = [:]
    private var nextToken: UInt64 = 1
    private var waiting: [TransportOrder] = []
    /// Commands for which no buffer is free.
    private var unsent: [(entry: [UInt8], data: InProcessData, queue: InProcessQueue)] = []
    var isFull = false {
        didSet { if !isFull { carryWaiting() } }
    }

    /// Room before a capsule, so that the data in it is aligned as block devices want it.
    private static let capsuleOffset = 512 - SubmissionEntry.byteCount

    init(_ options: TargetOptions, connections: Int) {
        stride = 512 + (options.inCapsuleDataSize + 511) / 512 * 512
        capsules = .allocate(byteCount: stride * options.sharedReceiveEntries, alignment: 512)
        freeCapsules = (0..<UInt32(options.sharedReceiveEntries)).reversed()
        queues = [InProcessQueue?](repeating: nil, count: connections)
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: options.poolBytes, alignment: 4096)
        traits = PortTraits(
            capsules: options.sharedReceiveEntries, requests: options.requests, connections: connections,
            capsuleBytes: SubmissionEntry.byteCount + options.inCapsuleDataSize, maxPieces: options.maxDescriptors,
            memory: memory)
    }

    deinit {
        capsules.deallocate()
        traits.memory.deallocate()
    }

    var connectionCounts: ConnectionCounts {
        queues.reduce(into: ConnectionCounts()) { counts, queue in
            if let queue { counts.add(1, isAdmin: queue.queueID == 0) }
        }
    }

    // MARK: Hosts

    func bind(_ queue: InProcessQueue) -> ConnectionIndex? {
        guard let position = queues.firstIndex(where: { $0 == nil }) else { return nil }
        queues[position] = queue
        queue.connection = ConnectionIndex(position: UInt32(position))
        return queue.connection
    }

    func send(_ entry: [UInt8], _ data: InProcessData, on queue: InProcessQueue) {
        guard let connection = queue.connection, !queue.isClosed else { return }
        guard let buffer = freeCapsules.popLast() else { return unsent.append((entry, data, queue)) }
        let bytes = capsules.baseAddress! + Int(buffer) * stride + Self.capsuleOffset
        bytes.copyMemory(from: entry, byteCount: SubmissionEntry.byteCount)
        var shape = DataShape()
        var dataLength = 0
        switch data {
        case .none: break
        case .fromHost(let data):
            shape = hostShape(data.count)
            outgoing[shape.token.0] = data
        case .toHost(let count):
            shape = hostShape(count)
            // Memory of the host's, which is there before the command is sent.
            queue.rooms[InProcessQueue.commandID(of: entry)] = [UInt8](repeating: 0, count: count)
        case .inCapsule(let data):
            (bytes + SubmissionEntry.byteCount).copyMemory(from: data, byteCount: data.count)
            dataLength = data.count
            shape = DataShape(inCapsuleAt: UInt32(SubmissionEntry.byteCount), byteCount: UInt32(data.count))
        case .invalid(let status): shape = DataShape(invalid: status)
        }
        events.append(
            .capsule(
                Capsule(
                    connection: connection, buffer: CapsuleIndex(position: buffer), bytes: bytes,
                    dataLength: UInt32(dataLength), shape: shape)))
    }

    private func hostShape(_ count: Int) -> DataShape {
        var shape = DataShape()
        shape.place = .host
        shape.pieceCount = 1
        shape.byteCount = UInt32(count)
        shape.token.0 = nextToken
        nextToken += 1
        return shape
    }

    // MARK: The engine

    func poll(into batch: UnsafeMutableBufferPointer<TransportEvent>, now: MonotonicTime) -> Int {
        let count = min(events.count, batch.count)
        for position in 0..<count { batch[position] = events[position] }
        events.removeFirst(count)
        return count
    }

    var hasEvents: Bool { !events.isEmpty }
    var heldCapsules: Int {
        traits.capsules - freeCapsules.count - events.count { if case .capsule = $0 { true } else { false } }
    }

    func carry(_ orders: UnsafeBufferPointer<TransportOrder>, now: MonotonicTime) {
        for order in orders { carry(order) }
    }

    private func carry(_ order: TransportOrder) {
        switch order {
        case .fetch, .answer: if isFull { waiting.append(order) } else { transfer(order, hasWaited: false) }
        case .giveBack(let buffer): free(buffer)
        case .endLoan: break
        case .close(let connection):
            queues[connection.offset]?.isClosed = true
            carryWaiting()
        case .release(let connection): queues[connection.offset] = nil
        }
    }

    private func free(_ buffer: CapsuleIndex) {
        freeCapsules.append(buffer.position)
        while !unsent.isEmpty, !freeCapsules.isEmpty {
            let next = unsent.removeFirst()
            send(next.entry, next.data, on: next.queue)
        }
    }

    private func carryWaiting() {
        let orders = waiting
        waiting = []
        for order in orders { transfer(order, hasWaited: true) }
    }

    private func transfer(_ order: TransportOrder, hasWaited: Bool) {
        switch order {
        case .fetch(let fetch):
            let data = outgoing.removeValue(forKey: fetch.shape.token.0)
            if let data { fetch.destination.copyMemory(from: data, byteCount: data.count) }
            events.append(.fetched(fetch.request, isComplete: data != nil, hasWaited: hasWaited))
        case .answer(let answer):
            var entry = [UInt8](repeating: 0, count: CompletionEntry.byteCount)
            entry.withUnsafeMutableBytes { answer.entry.store(to: $0.baseAddress!) }
            let data =
                answer.byteCount > 0 ? UnsafeRawBufferPointer(start: answer.source, count: Int(answer.byteCount)) : nil
            if let queue = queues[answer.connection.offset], !queue.isClosed { queue.take(entry, data) }
            if !answer.buffer.isNone { free(answer.buffer) }
            events.append(.answered(answer.request, hasWaited: hasWaited))
        case .giveBack, .endLoan, .close, .release: break
        }
    }

    func withdraw(_ request: RequestIndex) -> Bool {
        let place = waiting.firstIndex { order in
            if case .fetch(let fetch) = order { fetch.request == request } else { false }
        }
        if let place { waiting.remove(at: place) }
        return place != nil
    }

    func lend(_ loans: UnsafeMutableBufferPointer<Loan>, now: MonotonicTime) {
        for position in loans.indices { loans[position].isTaken = true }
    }

    func lendsAtALoss() -> Bool { false }
    var keptLoans: Int { 0 }
    func failure(of connection: ConnectionIndex) -> String { "its host has broken it" }

    var use: PortUse {
        var use = PortUse()
        use.freeConnections = queues.count { $0 == nil }
        use.boundConnections = queues.count - use.freeConnections
        for order in waiting {
            if case .fetch = order { use.waitingFetches += 1 } else { use.waitingAnswers += 1 }
        }
        return use
    }
}
