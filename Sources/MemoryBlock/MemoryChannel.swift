import BlockInterface

/// The queue of one reactor to a device in memory.
final class MemoryChannel: BlockChannel {
    // Unchecked: one thread uses the channel, and no method of the queue calls anything that leads back here.
    @exclusivity(unchecked) private var queue: MemoryQueue

    /// - Parameter memory: `nil` for a null device.
    init(
        device: any BlockDevice, memory: UnsafeMutableRawBufferPointer?, geometry: BlockGeometry, depth: Int,
        name: String
    ) throws(BlockDeviceError) {
        guard depth >= 1 && depth <= 32768 else {
            throw BlockDeviceError("\(name): a queue depth of \(depth) is not possible; 1 to 32768 is")
        }
        queue = MemoryQueue(device: device, memory: memory, geometry: geometry, depth: depth)
        super.init()
    }

    override func submit(_ requests: UnsafeBufferPointer<BlockRequest>) -> Int { queue.submit(requests) }

    override func poll(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int {
        queue.poll(into: completions)
    }

    override var running: Int { queue.count }

    override func cancel(tag: UInt64) -> Bool { queue.cancel(tag: tag) }
}
