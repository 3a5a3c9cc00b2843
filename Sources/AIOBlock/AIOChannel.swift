import Base
import BlockInterface

/// The queue of one reactor to one `AIODevice`.
final class AIOChannel: BlockChannel {
    // Unchecked: one thread uses the channel, and no method of the queue calls anything that leads back here.
    @exclusivity(unchecked) private var queue: AIOQueue

    init(device: AIODevice, depth: Int) throws(TercetError) {
        let resources = try AIOQueue.resources(for: device.name, depth: depth)
        queue = AIOQueue(device: device, depth: depth, resources: resources)
        super.init()
    }

    override func submit(_ requests: UnsafeBufferPointer<BlockRequest>) -> Int { queue.begin(requests) }

    override func poll(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int {
        queue.collect(into: completions)
    }

    override var running: Int { queue.running }

    override var isBlocked: Bool { queue.blocked.count > 0 }

    override func cancel(tag: UInt64) -> Bool { queue.withdraw(tag: tag) }

    override var notificationDescriptor: Int32 { queue.eventDescriptor }

    override func armNotification() {
        queue.acknowledge()
        // The kernel had no room: nothing may be under way that would wake the reactor up, so it must try again soon.
        if queue.readyCount > 0 { queue.signal() }
    }

    override func acknowledgeNotification() { queue.acknowledge() }

    override func close() { queue.close() }
}
