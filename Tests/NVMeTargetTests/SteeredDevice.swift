import Base
import BlockInterface
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
    var name: String { "steered" }
    var identity: BlockIdentity { BlockIdentity() }
    var geometry: BlockGeometry {
        BlockGeometry(blockSize: 512, blockCount: steering.withLock { $0.blockCount }, hasVolatileWriteCache: false)
    }

    init(_ status: BlockStatus = .success) { steering = Mutex(Steering(status: status)) }

    func steer(_ body: (inout Steering) -> Void) { steering.withLock { body(&$0) } }
    func refresh() -> BlockDeviceChange { geometry.blockCount == 0 ? .vanished : .resized }
    func openChannel(depth: Int) throws(TercetError) -> BlockChannel { Channel(self) }

    private final class Channel: BlockChannel {
        private let device: SteeredDevice
        private var tags: [UInt64] = []

        init(_ device: SteeredDevice) { self.device = device }

        override func submit(_ requests: UnsafeBufferPointer<BlockRequest>) -> Int {
            tags += requests.map(\.tag)
            return requests.count
        }

        override func poll(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int {
            let (isStuck, status) = device.steering.withLock { ($0.isStuck, $0.status) }
            let count = isStuck ? 0 : min(tags.count, completions.count)
            for index in 0..<count { completions[index] = BlockCompletion(tag: tags[index], status: status) }
            tags.removeFirst(count)
            return count
        }

        override var running: Int { tags.count }
        override func close() {}
    }
}
