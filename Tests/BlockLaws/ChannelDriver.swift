import Base
import BlockInterface
import CLinux
import Glibc

/// Drives a channel from a test: memory that it may use, and operations that are waited for.
public final class ChannelDriver {
    public let channel: BlockChannel
    public let memory: UnsafeMutableRawBufferPointer
    private var nextTag: UInt64 = 1
    private let completions: UnsafeMutableBufferPointer<BlockCompletion>

    /// - Parameter byteCount: memory to use as buffers, aligned to a page.
    public init(_ channel: BlockChannel, byteCount: Int) {
        self.channel = channel
        memory = .allocate(byteCount: byteCount, alignment: 4096)
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        completions = .allocate(capacity: 64)
    }

    deinit {
        channel.close()
        memory.deallocate()
        completions.deallocate()
    }

    /// A tag that no other request has.
    public func tag() -> UInt64 {
        nextTag += 1
        return nextTag
    }

    /// Submits one operation and waits for its end. `nil` when that has not come within 10 s.
    public func run(
        _ operation: BlockOperation, _ flags: BlockFlags = [], offset: UInt64 = 0, length: Int = 0, at position: Int = 0
    ) -> BlockStatus? {
        let request = BlockRequest(
            tag: tag(), operation: operation, flags: flags, offset: offset, length: UInt64(length),
            buffer: memory.baseAddress.map { $0 + position })
        guard submit([request]) == 1, let ended = wait(for: 1), ended.count == 1, ended[0].tag == request.tag else {
            return nil
        }
        return ended[0].status
    }

    /// Submits requests as one batch; returns how many the channel took.
    public func submit(_ requests: [BlockRequest]) -> Int { requests.withUnsafeBufferPointer { channel.submit($0) } }

    /// Waits for `count` completions, asleep on the channel's descriptor where it has one; `nil` after 10 s.
    public func wait(for count: Int) -> [BlockCompletion]? {
        var ended: [BlockCompletion] = []
        let deadline = time(nil) + 10
        while ended.count < count {
            ended += poll()
            if ended.count >= count { break }
            if time(nil) > deadline { return nil }
            // Nothing tells of a range that another channel has.
            if channel.isBlocked {
                sched_yield()
                continue
            }
            guard channel.notificationDescriptor >= 0 else { continue }
            channel.armNotification()
            ended += poll()
            if ended.count < count {
                var watched = pollfd(fd: channel.notificationDescriptor, events: Int16(POLLIN), revents: 0)
                guard Glibc.poll(&watched, 1, 10_000) == 1 else { return nil }
                channel.acknowledgeNotification()
            }
        }
        return ended
    }

    /// The completions that one poll finds.
    public func poll() -> [BlockCompletion] {
        let count = channel.poll(into: completions)
        return Array(completions[..<count])
    }

    /// Fills memory with bytes made from `seed`. The range is whole words.
    public func fill(_ range: Range<Int>, seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for position in stride(from: range.lowerBound, to: range.upperBound, by: 8) {
            memory.storeBytes(of: random.next(), toByteOffset: position, as: UInt64.self)
        }
    }

    /// Whether two ranges of memory of one length are equal.
    public func isEqual(_ range: Range<Int>, at position: Int) -> Bool {
        guard let start = memory.baseAddress else { return false }
        return memcmp(start + range.lowerBound, start + position, range.count) == 0
    }
}
