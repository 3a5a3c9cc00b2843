import Base
import BlockInterface

/// The reactors' queues to a disk.
extension SimulatedDisk {
    public var channelCount: Int { channels.count }

    /// When the first of the operations under way ends, as things are: a simulation need not poll before.
    public var nextPoll: MonotonicTime {
        if behaviour.isStuck { return .distantFuture }
        if let nextCompletion { return nextCompletion }
        var next = MonotonicTime.distantFuture
        for channel in channels { next = min(next, channel._withUnsafeGuaranteedRef { $0.nextCompletion }) }
        nextCompletion = next
        return next
    }

    public func openChannel(depth: Int) throws(TercetError) -> BlockChannel {
        guard change != .vanished else { throw TercetError(.notFound, "\(name): the device is gone") }
        let channel = SimulatedDiskChannel(self, depth: depth)
        channels.append(.passUnretained(channel))
        nextCompletion = nil
        return channel
    }

    func forget(_ channel: SimulatedDiskChannel) {
        let reference = Unmanaged.passUnretained(channel).toOpaque()
        channels.removeAll { $0.toOpaque() == reference }
        nextCompletion = nil
    }
}
