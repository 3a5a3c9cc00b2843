import Base
import BlockInterface
import MemoryBlock
import Synchronization

/// A device that a test steers: its size, whether it is there, and whether and how its operations end.
final class SteeredDevice: BlockDevice {
    struct Steering: Sendable {
        var status = BlockStatus.success
        /// Nothing ends.
        var isStuck = false
        /// 0 where the device is gone.
        var blockCount: UInt64 = 8192
    }

    private let steering: Mutex<Steering>
    private let memory = try! RAMDevice(byteCount: 8 << 20)
    var name: String { "steered" }
    var identity: BlockIdentity { BlockIdentity() }
    var geometry: BlockGeometry {
        BlockGeometry(
            blockSize: 512, blockCount: steering.withLock { $0.blockCount }, hasVolatileWriteCache: false,
            canDeallocate: true)
    }

    init(_ status: BlockStatus = .success) { steering = Mutex(Steering(status: status)) }

    func steer(_ body: (inout Steering) -> Void) { steering.withLock { body(&$0) } }
    func stick(_ isStuck: Bool) { steer { $0.isStuck = isStuck } }
    func refresh() -> BlockDeviceChange { geometry.blockCount == 0 ? .vanished : .resized }
    func openChannel(depth: Int) throws(TercetError) -> BlockChannel {
        Channel(self, depth: depth, try memory.openChannel(depth: depth))
    }

    private final class Channel: BlockChannel {
        private let device: SteeredDevice
        private let memory: BlockChannel
        private var waiting: [BlockRequest] = []
        private var ended: [BlockCompletion] = []

        private let depth: Int

        init(_ device: SteeredDevice, depth: Int, _ memory: BlockChannel) {
            (self.device, self.depth, self.memory) = (device, depth, memory)
        }

        override func submit(_ requests: UnsafeBufferPointer<BlockRequest>) -> Int {
            let taken = requests.prefix(max(0, depth - running))
            waiting += taken
            return taken.count
        }

        override func poll(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int {
            let (isStuck, status) = device.steering.withLock { ($0.isStuck, $0.status) }
            if !isStuck, status == .success {
                waiting.removeFirst(waiting.withUnsafeBufferPointer { memory.submit($0) })
            } else if !isStuck {
                ended += waiting.map { BlockCompletion(tag: $0.tag, status: status) }
                waiting = []
            }
            let count = min(ended.count, completions.count)
            for index in 0..<count { completions[index] = ended[index] }
            ended.removeFirst(count)
            return count + memory.poll(into: UnsafeMutableBufferPointer(rebasing: completions[count...]))
        }

        override func cancel(tag: UInt64) -> Bool {
            guard let place = waiting.firstIndex(where: { $0.tag == tag }) else { return false }
            waiting.remove(at: place)
            ended.append(BlockCompletion(tag: tag, status: .aborted))
            return true
        }

        override var running: Int { waiting.count + ended.count + memory.running }
        override func close() { memory.close() }
    }
}
