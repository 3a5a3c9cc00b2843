import BlockInterface
import Reactor

/// A reactor's channel to a volume that lives on another one, or on the same: requests and their ends go through rings, without
/// a lock or an allocation, and a doorbell wakes a side that sleeps.
final class ForwardedChannel: BlockChannel {
    private let inlet: VolumeInlet
    private let device: VolumeBlockDevice
    private let depth: Int
    private var count = 0
    private var isArmed = false

    init(_ inlet: VolumeInlet, _ device: VolumeBlockDevice, depth: Int) {
        self.inlet = inlet
        self.device = device
        self.depth = depth
        super.init()
    }

    override func announce(_ memory: UnsafeMutableRawBufferPointer) { device.announce(memory, by: inlet) }

    override func submit(_ requests: UnsafeBufferPointer<BlockRequest>) -> Int {
        let taken = min(requests.count, depth - count)
        var pushed = 0
        while pushed < taken, inlet.requests.push(requests[pushed]) { pushed += 1 }
        count += pushed
        if pushed > 0 { device.bell.ring() }
        return pushed
    }

    override func poll(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int {
        var found = 0
        while found < completions.count, let completion = inlet.completions.pop() {
            completions[found] = completion
            found += 1
        }
        count -= found
        if found > 0, isArmed {
            // Awake, and to be left alone.
            isArmed = false
            inlet.bell.disarm()
        }
        return found
    }

    override var running: Int { count }

    override var notificationDescriptor: Int32 { inlet.bell.descriptor }

    override func armNotification() {
        isArmed = true
        inlet.bell.arm()
    }

    override func acknowledgeNotification() {
        isArmed = false
        inlet.bell.acknowledge()
    }

    override func close() { device.close(inlet) }
}
