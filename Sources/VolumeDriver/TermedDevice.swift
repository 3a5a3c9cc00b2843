import Base
import BlockInterface

/// An attached volume for clients that cannot follow it to another daemon: what they read counts for as long as it is this daemon's.
public final class TermedDevice: BlockDevice {
    private let device: VolumeBlockDevice
    private let term: ServingTerm

    public init(_ device: VolumeBlockDevice, during term: ServingTerm) {
        self.device = device
        self.term = term
    }

    public var name: String { device.name }
    public var geometry: BlockGeometry { device.geometry }
    public var identity: BlockIdentity { device.identity }

    public func openChannel(depth: Int) throws(TercetError) -> BlockChannel {
        try openChannel(depth: depth, for: .program)
    }

    public func openChannel(depth: Int, for user: BlockUser) throws(TercetError) -> BlockChannel {
        TermedChannel(try device.openChannel(depth: depth, for: user), term)
    }

    public func refresh() -> BlockDeviceChange { device.refresh() }

    public func extent(at offset: UInt64, length: UInt64) -> BlockExtent { device.extent(at: offset, length: length) }
}

/// One thread's channel to such a volume.
private final class TermedChannel: BlockChannel {
    private let channel: BlockChannel
    private let term: ServingTerm

    init(_ channel: BlockChannel, _ term: ServingTerm) {
        self.channel = channel
        self.term = term
        super.init()
    }

    override func announce(_ memory: UnsafeMutableRawBufferPointer) { channel.announce(memory) }

    override func submit(_ requests: UnsafeBufferPointer<BlockRequest>) -> Int { channel.submit(requests) }

    override func poll(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int {
        let found = channel.poll(into: completions)
        guard found > 0, term.isOver else { return found }
        for place in 0..<found { completions[place].status = .unavailable }
        return found
    }

    override var running: Int { channel.running }
    override func cancel(tag: UInt64) -> Bool { channel.cancel(tag: tag) }
    override var notificationDescriptor: Int32 { channel.notificationDescriptor }
    override func armNotification() { channel.armNotification() }
    override func acknowledgeNotification() { channel.acknowledgeNotification() }
    override func close() { channel.close() }
}
