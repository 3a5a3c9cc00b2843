import Base
import Buffers
import TargetTransport

/// Memory for the data of a port's requests, and who waits for some.
///
/// A channel may hold so many times as much as is free, so that something always is, for other namespaces and other hosts.
struct DataMemory: ~Copyable {
    private let pool: DataPool
    private var bytesByChannel: [Int] = []
    /// Requests in `awaitingBuffer`.
    var waiting = ChannelWaitLists()

    /// A channel may hold so many times as much memory as is free: 80 % of all, alone.
    private static let factor = 4

    init(_ memory: UnsafeMutableRawBufferPointer, reservedBytes: Int) {
        pool = DataPool(memory, reservedBytes: reservedBytes)
    }

    var bytesInUse: Int { pool.counters.bytesInUse }
    /// The most that a fused operation's half may need: both halves' data is in memory at once, and of a pool that is small they
    /// may have half.
    var fusedLimit: Int { pool.commonBytes / 4 }

    /// Gets memory for a request's data; `false` where there is none for its channel now.
    ///
    /// - Parameter isPrivileged: fabrics and admin commands may use the reserve, so that I/O cannot keep a host from connecting.
    @inline(__always)
    mutating func take(_ request: inout RequestSlot, isPrivileged: Bool) -> Bool {
        guard request.transfer.data == nil else { return true }
        let length = Int(request.transfer.byteCount)
        let channel = request.block.channel
        guard mayTake(length, channel),
            let memory = pool.allocate(length, priority: isPrivileged ? .admin : .io)
        else { return false }
        if !channel.isNone { bytesByChannel[channel.offset] += length }
        request.transfer.take(memory)
        return true
    }

    /// Gives a request's memory back.
    @inline(__always)
    mutating func give(_ request: inout RequestSlot) {
        guard let (memory, length) = request.transfer.giveMemory() else { return }
        if !request.block.channel.isNone { bytesByChannel[request.block.channel.offset] -= Int(length) }
        pool.free(memory)
    }

    /// Memory for both halves of a fused operation, or for neither: halves that have some and wait for more could wait for each
    /// other.
    @inline(never)
    mutating func takeBoth(
        _ first: RequestIndex, _ second: RequestIndex, in requests: borrowing RequestTable
    ) -> Bool {
        guard take(&requests[first], isPrivileged: false) else { return false }
        if take(&requests[second], isPrivileged: false) { return true }
        give(&requests[first])
        return false
    }

    /// Whether a channel may have so many more bytes. One that has none always may.
    @inline(__always)
    private mutating func mayTake(_ bytes: Int, _ channel: ChannelIndex) -> Bool {
        guard !channel.isNone else { return true }
        if _slowPath(channel.offset >= bytesByChannel.count) { grow(to: channel.offset + 1) }
        let held = bytesByChannel[channel.offset]
        return held == 0 || held + bytes <= (pool.commonBytes - pool.counters.bytesInUse) * Self.factor
    }

    /// Once for each channel.
    private mutating func grow(to count: Int) {
        while bytesByChannel.count < count { bytesByChannel.append(0) }
    }
}
