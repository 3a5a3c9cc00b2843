import Base
import BlockInterface

/// One reactor's queue to a simulated disk.
final class SimulatedDiskChannel: BlockChannel {
    private let disk: SimulatedDisk
    private let depth: Int
    /// Taken and not ended, with the time at which each may end.
    private var queued: [(request: BlockRequest, due: MonotonicTime)] = []
    private var ended: [BlockCompletion] = []

    init(_ disk: SimulatedDisk, depth: Int) {
        self.disk = disk
        self.depth = depth
    }

    override var running: Int { queued.count + ended.count }

    override func submit(_ requests: UnsafeBufferPointer<BlockRequest>) -> Int {
        let network = disk.network
        var taken = 0
        for request in requests {
            guard running < depth else { break }
            let latency = network.draw(disk.behaviour.latency)
            queued.append((request, network.now.advanced(byNanoseconds: latency)))
            // An event, so that a simulation that skips idle time does not skip this.
            network.schedule(afterNanoseconds: latency) {}
            taken += 1
        }
        return taken
    }

    override func poll(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int {
        let now = disk.network.now
        if !disk.behaviour.isStuck {
            // The order in which the disk ends its operations is that of their times, not of their submission.
            let due = queued.filter { $0.due <= now }.sorted { $0.due < $1.due }
            queued.removeAll { $0.due <= now }
            for (request, _) in due {
                ended.append(BlockCompletion(tag: request.tag, status: disk.perform(request)))
            }
        }
        let count = min(completions.count, ended.count)
        for index in 0..<count { completions[index] = ended[index] }
        ended.removeFirst(count)
        return count
    }

    override func cancel(tag: UInt64) -> Bool {
        guard let place = queued.firstIndex(where: { $0.request.tag == tag }) else { return false }
        queued.remove(at: place)
        ended.append(BlockCompletion(tag: tag, status: .aborted))
        return true
    }

    func losePower() {
        for (request, _) in queued where Bool.random(using: &disk.network.random) { _ = disk.perform(request) }
        queued = []
        ended = []
    }
}
