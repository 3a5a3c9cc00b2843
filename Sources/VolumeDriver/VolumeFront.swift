import Base
import BlockInterface
import CLinux
import Glibc
import Replication
import Synchronization

/// A volume as a block device, also while it is not attached here: its size and identity stay, and I/O ends in `unavailable`.
///
/// So a target can offer a volume that another daemon serves, and go on with the same namespace when it serves the volume itself. It never
/// ends I/O in `fenced`: there are others to ask.
public final class VolumeFront: BlockDevice {
    public let name: String
    public let identity: BlockIdentity

    /// A channel, and the only thread that uses it.
    private struct Place: @unchecked Sendable {
        // Unchecked: the channel is used on its thread only.
        let channel: FrontChannel
        let thread: pthread_t
    }

    private struct State {
        var geometry: BlockGeometry
        var device: VolumeBlockDevice?
        var isResized = false
        var places: [Place] = []
    }
    private let state: Mutex<State>

    /// - Parameter superblock: the newest record of the volume.
    public init(_ superblock: Superblock) {
        name = "volume \(superblock.volume)"
        identity = BlockIdentity(uuid: superblock.volume.bytes)
        state = Mutex(
            State(
                geometry: VolumeBlockDevice.geometry(
                    blockSize: superblock.geometry.blockSize, blocks: superblock.geometry.dataBlocks)))
    }

    public var geometry: BlockGeometry { state.withLock { $0.geometry } }

    /// Leads to an attached volume, or to none: channels follow when their threads call `follow`.
    public func lead(to device: VolumeBlockDevice?) {
        state.withLock { state in
            state.device = device
            guard let device, device.geometry != state.geometry else { return }
            state.geometry = device.geometry
            state.isResized = true
        }
    }

    /// Has the channels of the calling thread go where the front leads.
    ///
    /// - Returns: `false` while I/O is under way at the volume to which they have led before.
    public func follow() -> Bool {
        let thread = pthread_self()
        let (places, device) = state.withLock { ($0.places, $0.device) }
        var isOver = true
        for place in places where pthread_equal(place.thread, thread) != 0 {
            if !place.channel.follow(device) { isOver = false }
        }
        return isOver
    }

    public func openChannel(depth: Int) throws(TercetError) -> BlockChannel {
        let channel = try FrontChannel(self, depth: depth)
        let place = Place(channel: channel, thread: pthread_self())
        let device = state.withLock { state in
            state.places.append(place)
            return state.device
        }
        _ = channel.follow(device)
        return channel
    }

    func forget(_ channel: FrontChannel) {
        let identity = ObjectIdentifier(channel)
        state.withLock { $0.places.removeAll { ObjectIdentifier($0.channel) == identity } }
    }

    public func refresh() -> BlockDeviceChange {
        state.withLock { state in
            if let device = state.device, device.refresh() == .resized {
                state.geometry = device.geometry
                state.isResized = true
            }
            defer { state.isResized = false }
            return state.isResized ? .resized : .unchanged
        }
    }

    public func extent(at offset: UInt64, length: UInt64) -> BlockExtent {
        state.withLock { $0.device }?.extent(at: offset, length: length) ?? BlockExtent(length: length)
    }
}

/// One thread's channel to a volume that may be attached, or not.
final class FrontChannel: BlockChannel {
    private let front: VolumeFront
    private let depth: Int
    /// Readable while the present channel's descriptor is: its own one stays the same.
    private let epoll: Int32
    private var announced: [UnsafeMutableRawBufferPointer] = []
    private var device: VolumeBlockDevice?
    private var channel: BlockChannel?
    /// The channel takes no further requests.
    private var isLeaving = false
    /// Requests that have ended here.
    private let refused: UnsafeMutablePointer<UInt64>
    private var refusedCount = 0

    init(_ front: VolumeFront, depth: Int) throws(TercetError) {
        self.front = front
        self.depth = depth
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        refused = .allocate(capacity: depth)
        super.init()
        guard epoll >= 0 else {
            throw TercetError(call: "epoll_create1", errno: errno, reason: String(cString: strerror(errno)))
        }
    }

    deinit {
        if epoll >= 0 { Glibc.close(epoll) }
        refused.deallocate()
    }

    /// Goes to a volume, or to none. Returns `false` while I/O is under way at the former one.
    func follow(_ wanted: VolumeBlockDevice?) -> Bool {
        guard device !== wanted else { return true }
        if let channel {
            isLeaving = true
            guard channel.running == 0 else { return false }
            epoll_ctl(epoll, EPOLL_CTL_DEL, channel.notificationDescriptor, nil)
            channel.close()
        }
        channel = nil
        device = nil
        isLeaving = false
        // Without a channel I/O ends in `unavailable`, and hosts ask another daemon.
        guard let wanted, let opened = try? wanted.openChannel(depth: depth) else { return true }
        for area in announced { opened.announce(area) }
        var event = epoll_event(events: EPOLLIN.rawValue, data: epoll_data_t(u64: 0))
        epoll_ctl(epoll, EPOLL_CTL_ADD, opened.notificationDescriptor, &event)
        channel = opened
        device = wanted
        return true
    }

    override func announce(_ memory: UnsafeMutableRawBufferPointer) {
        announced.append(memory)
        channel?.announce(memory)
    }

    override func submit(_ requests: UnsafeBufferPointer<BlockRequest>) -> Int {
        if _fastPath(!isLeaving), let channel { return channel.submit(requests) }
        let taken = min(requests.count, depth - refusedCount)
        for place in 0..<taken { refused[refusedCount + place] = requests[place].tag }
        refusedCount += taken
        return taken
    }

    override func poll(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int {
        var found = 0
        while refusedCount > 0, found < completions.count {
            refusedCount -= 1
            completions[found] = BlockCompletion(tag: refused[refusedCount], status: .unavailable)
            found += 1
        }
        guard let channel, found < completions.count else { return found }
        let ended = channel.poll(into: UnsafeMutableBufferPointer(rebasing: completions[found...]))
        for place in found..<found + ended where completions[place].status == .fenced {
            completions[place].status = .unavailable
        }
        return found + ended
    }

    override var running: Int { refusedCount + (channel?.running ?? 0) }

    override func cancel(tag: UInt64) -> Bool { channel?.cancel(tag: tag) ?? false }

    override var notificationDescriptor: Int32 { epoll }

    override func armNotification() { channel?.armNotification() }

    override func acknowledgeNotification() { channel?.acknowledgeNotification() }

    override func close() {
        channel?.close()
        channel = nil
        device = nil
        front.forget(self)
    }
}
