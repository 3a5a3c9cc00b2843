import Base
import BlockInterface

/// One reactor's queue to a simulated disk.
final class SimulatedDiskChannel: BlockChannel {
    private let disk: SimulatedDisk
    private let depth: Int
    /// Taken and not ended, with the time at which each may end.
    private var queued: [(request: BlockRequest, due: MonotonicTime, mark: UInt64)] = []
    /// When the first of them ends.
    private(set) var nextCompletion = MonotonicTime.distantFuture {
        didSet { if nextCompletion != oldValue { disk.nextCompletion = nil } }
    }
    private var ended: [BlockCompletion] = []

    init(_ disk: SimulatedDisk, depth: Int) {
        self.disk = disk
        self.depth = depth
    }

    deinit { disk.forget(self) }

    override var running: Int { queued.count + ended.count }

    override func submit(_ requests: UnsafeBufferPointer<BlockRequest>) -> Int {
        let network = disk.network
        var taken = 0
        for request in requests {
            guard running < depth else { break }
            var latency = network.draw(disk.behaviour.latency)
            if disk.behaviour.slowness > 0, disk.blocks(of: request).overlaps(disk.behaviour.slowBlocks) {
                latency += disk.behaviour.slowness
            }
            if request.operation == .flush { latency += disk.behaviour.flushCost * UInt64(disk.unflushed.count) }
            latency += disk.drawTail()
            let due = network.now.advanced(byNanoseconds: latency)
            if request.operation == .flush { disk.flushMark = disk.writes }
            queued.append((request, due, disk.writes))
            if disk.answersEarly(request) { ended.append(BlockCompletion(tag: request.tag, status: .success)) }
            nextCompletion = min(nextCompletion, due)
            // An event, so that a simulation that skips idle time does not skip this.
            network.insert(.wake, afterNanoseconds: latency)
            taken += 1
        }
        return taken
    }

    override func poll(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int {
        if !queued.isEmpty, !disk.behaviour.isStuck {
            // The order in which the disk ends its operations is that of their times, not of their submission.
            while let place = earliest(), queued[place].due <= disk.network.now {
                let (request, _, mark) = queued.remove(at: place)
                let status = disk.perform(request, mark: mark)
                if disk.answersEarly(request) { continue }
                let isHidden = disk.behaviour.hidesFailures && status != .compareFailure && request.operation != .read
                ended.append(BlockCompletion(tag: request.tag, status: isHidden ? .success : status))
            }
        }
        let count = min(completions.count, ended.count)
        for index in 0..<count { completions[index] = ended[index] }
        if count > 0 { ended.removeFirst(count) }
        nextCompletion = ended.isEmpty ? earliest().map { queued[$0].due } ?? .distantFuture : disk.network.now
        return count
    }

    private func earliest() -> Int? {
        var found: Int?
        for place in queued.indices where found.map({ queued[place].due < queued[$0].due }) ?? true { found = place }
        return found
    }

    override func cancel(tag: UInt64) -> Bool {
        guard let place = queued.firstIndex(where: { $0.request.tag == tag }) else { return false }
        queued.remove(at: place)
        ended.append(BlockCompletion(tag: tag, status: .aborted))
        return true
    }

    /// Running requests are carried out in part, without a completion.
    func abandon() {
        for (request, _, _) in queued { disk.performPartly(request) }
        queued = []
        ended = []
        nextCompletion = .distantFuture
    }

    /// Running requests are carried out in part, and end in `deviceGone`.
    func failAll() {
        for (request, _, _) in queued {
            disk.performPartly(request)
            if !disk.answersEarly(request) { ended.append(BlockCompletion(tag: request.tag, status: .deviceGone)) }
        }
        queued = []
        nextCompletion = ended.isEmpty ? .distantFuture : disk.network.now
    }
}
