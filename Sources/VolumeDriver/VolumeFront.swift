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

    /// The attached volume, and how long what it says counts.
    struct Lead: Sendable {
        let device: VolumeBlockDevice
        let term: ServingTerm
    }

    /// A channel, and the only thread that uses it.
    private struct Place: @unchecked Sendable {
        // Unchecked: the channel is used on its thread only.
        let channel: FrontChannel
        let thread: pthread_t
    }

    private struct State {
        var geometry: BlockGeometry
        var lead: Lead?
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

    /// Leads to an attached volume: channels follow when their threads call `follow`.
    ///
    /// - Parameter term: how long this is the volume to ask.
    public func lead(to device: VolumeBlockDevice, during term: ServingTerm) {
        state.withLock { state in
            state.lead = Lead(device: device, term: term)
            guard device.geometry != state.geometry else { return }
            state.geometry = device.geometry
            state.isResized = true
        }
    }

    /// Leads to no volume; channels follow as they do to one.
    public func leadNowhere() { state.withLock { $0.lead = nil } }

    /// Has the channels of the calling thread go where the front leads.
    ///
    /// - Returns: `false` while I/O is under way at the volume to which they have led before, or where the other one gives no channel.
    public func follow() -> Bool {
        let thread = pthread_self()
        let (places, lead) = state.withLock { ($0.places, $0.lead) }
        var isOver = true
        for place in places where pthread_equal(place.thread, thread) != 0 {
            if !place.channel.follow(lead) { isOver = false }
        }
        return isOver
    }

    public func openChannel(depth: Int) throws(TercetError) -> BlockChannel {
        try openChannel(depth: depth, for: .program)
    }

    public func openChannel(depth: Int, for user: BlockUser) throws(TercetError) -> BlockChannel {
        let channel = try FrontChannel(self, depth: depth, user: user)
        let place = Place(channel: channel, thread: pthread_self())
        let lead = state.withLock { state in
            state.places.append(place)
            return state.lead
        }
        guard channel.follow(lead) else {
            channel.close()
            throw TercetError(.exhausted, "\(name): it is attached, and gives no further channel")
        }
        return channel
    }

    func forget(_ channel: FrontChannel) {
        let identity = ObjectIdentifier(channel)
        state.withLock { $0.places.removeAll { ObjectIdentifier($0.channel) == identity } }
    }

    public func refresh() -> BlockDeviceChange {
        state.withLock { state in
            if let device = state.lead?.device, device.refresh() == .resized {
                state.geometry = device.geometry
                state.isResized = true
            }
            defer { state.isResized = false }
            return state.isResized ? .resized : .unchanged
        }
    }

    public func extent(at offset: UInt64, length: UInt64) -> BlockExtent {
        state.withLock { $0.lead }?.device.extent(at: offset, length: length) ?? BlockExtent(length: length)
    }
}

/// The time for which a daemon is the one that serves a volume, as far as it knows: it is renewed with a lease, and ends by itself.
///
/// The members refuse a former owner's writes for good, and no reads: what it reads may be old, where a member was left behind since. So
/// nothing that was read counts after the end, which is before any other daemon attaches the volume.
public final class ServingTerm: Sendable {
    private let end: Atomic<UInt64>
    private let clock: @Sendable () -> MonotonicTime

    /// - Parameter clock: the one by which it ends.
    public init(end: MonotonicTime, clock: @escaping @Sendable () -> MonotonicTime = { .now() }) {
        self.end = Atomic(end.nanoseconds)
        self.clock = clock
    }

    public func extend(to end: MonotonicTime) { self.end.store(end.nanoseconds, ordering: .relaxed) }

    var isOver: Bool { clock().nanoseconds >= end.load(ordering: .relaxed) }
}

/// One thread's channel to a volume that may be attached, or not.
final class FrontChannel: BlockChannel {
    private let front: VolumeFront
    private let depth: Int
    private let user: BlockUser
    /// Readable while the present channel's descriptor is: its own one stays the same.
    private let epoll: Int32
    private var announced: [UnsafeMutableRawBufferPointer] = []
    private var lead: VolumeFront.Lead?
    private var channel: BlockChannel?
    /// The channel takes no further requests.
    private var isLeaving = false
    /// Requests that have ended here.
    private let refused: UnsafeMutablePointer<UInt64>
    private var refusedCount = 0

    init(_ front: VolumeFront, depth: Int, user: BlockUser) throws(TercetError) {
        self.front = front
        self.depth = depth
        self.user = user
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

    /// Goes to a volume, or to none. Returns `false` while I/O is under way at the former one, or where the other one gives no channel.
    func follow(_ wanted: VolumeFront.Lead?) -> Bool {
        guard lead?.device !== wanted?.device || lead?.term !== wanted?.term else { return true }
        if let channel {
            isLeaving = true
            guard channel.running == 0 else { return false }
            epoll_ctl(epoll, EPOLL_CTL_DEL, channel.notificationDescriptor, nil)
            channel.close()
        }
        channel = nil
        lead = nil
        isLeaving = false
        // Without a channel I/O ends in `unavailable`, and hosts ask another daemon.
        guard let wanted else { return true }
        guard let opened = try? wanted.device.openChannel(depth: depth, for: user) else { return false }
        for area in announced { opened.announce(area) }
        var event = epoll_event(events: EPOLLIN.rawValue, data: epoll_data_t(u64: 0))
        epoll_ctl(epoll, EPOLL_CTL_ADD, opened.notificationDescriptor, &event)
        channel = opened
        lead = wanted
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
        let isLate = ended > 0 && lead?.term.isOver != false
        for place in found..<found + ended where isLate || completions[place].status == .fenced {
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
        lead = nil
        front.forget(self)
    }
}
