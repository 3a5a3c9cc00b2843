import Base
import NVMeSpec
import TargetTransport

/// The buffers of a port's capsules: which of them are not with the port, and which requests they become.
///
/// A namespace whose device is slow gathers commands, and with them capsules' buffers. It must not gather so much that the
/// commands of other namespaces and of other hosts find nothing: where a channel holds more buffers than are free, its capsules
/// are set aside in memory of our own (dynamic thresholds, as switches share their buffers).
struct CapsuleBuffers: ~Copyable {
    private let total: Int
    /// Requests that capsules of I/O queues leave for those of other queues: however many commands a device holds, hosts
    /// connect, keep their controllers alive and abort.
    private let reservedRequests: Int
    /// Buffers that are not with the port, and those of them that requests of a channel have.
    private var held = 0
    private var heldByChannel = UnsafeMutableBufferPointer<Int>(start: nil, count: 0)
    /// Capsules that no request was free for: those of I/O queues, and the others.
    private var lateIO: LateCapsules
    private var lateControl: LateCapsules
    /// Capsules whose buffers others need, by request.
    private let aside: CapsuleStore

    init(_ traits: PortTraits) {
        total = traits.capsules
        reservedRequests = traits.requests / Limits.requestReserve
        lateIO = LateCapsules(capacity: traits.capsules)
        lateControl = LateCapsules(capacity: traits.capsules)
        aside = CapsuleStore(capsuleBytes: traits.capsuleBytes, count: traits.requests)
    }

    deinit { heldByChannel.deallocate() }

    /// Capsules that wait for a request.
    var lateCount: Int { lateIO.count + lateControl.count }

    // MARK: Requests for capsules

    /// - Parameter held: buffers that are not with the port, its events included.
    @inline(__always)
    mutating func beginRound(held: Int) { self.held = held }

    /// A capsule has arrived, and its connection does not take it any more; or it was dropped.
    mutating func returned() { held -= 1 }

    /// Takes a request for a capsule that has arrived. Behind those that came before, it waits: the halves of a fused operation
    /// follow each other.
    @inline(__always)
    mutating func admit(_ capsule: Capsule, isIO: Bool, _ requests: inout RequestTable) -> RequestIndex? {
        if _fastPath(isIO) {
            if lateIO.isEmpty, requests.available > reservedRequests, let request = requests.take() { return request }
            lateIO.append(capsule)
        } else {
            if lateControl.isEmpty, let request = requests.take() { return request }
            lateControl.append(capsule)
        }
        return nil
    }

    @inline(__always)
    mutating func arrived() { held += 1 }

    /// Takes a request for the oldest capsule that has waited, while there is one.
    mutating func admitLate(_ requests: inout RequestTable) -> (RequestIndex, Capsule)? {
        guard requests.available > 0 else { return nil }
        if let capsule = lateControl.removeFirst(), let request = requests.take() { return (request, capsule) }
        guard requests.available > reservedRequests, let capsule = lateIO.removeFirst(), let request = requests.take()
        else { return nil }
        return (request, capsule)
    }

    /// Drops the capsules of a connection that is closing; `dropped` gets each buffer.
    mutating func dropLate(of connection: ConnectionIndex, _ dropped: (CapsuleIndex) -> Void) {
        let before = lateCount
        lateIO.removeAll(of: connection) { dropped($0.buffer) }
        lateControl.removeAll(of: connection) { dropped($0.buffer) }
        held -= before - lateCount
    }

    // MARK: Buffers of requests

    /// Counts a command's buffer for its channel; `false` where the channel holds more of them than are free, so that the
    /// capsule is to be set aside.
    @inline(__always)
    mutating func share(_ capsule: HeldCapsule, _ channel: ChannelIndex) -> Bool {
        guard !channel.isNone, !capsule.buffer.isNone else { return true }
        if _slowPath(channel.offset >= heldByChannel.count) { grow(to: channel.offset + 1) }
        heldByChannel[channel.offset] += 1
        return _fastPath(heldByChannel[channel.offset] <= total - held)
    }

    /// Takes the buffer of a request's capsule, for an order that gives it back; `none` where it has no buffer any more.
    @inline(__always)
    mutating func take(_ capsule: inout HeldCapsule, _ channel: ChannelIndex) -> CapsuleIndex {
        let buffer = capsule.takeBuffer()
        guard !buffer.isNone else { return buffer }
        held -= 1
        if !channel.isNone { heldByChannel[channel.offset] -= 1 }
        return buffer
    }

    /// Copies a request's capsule to memory of our own, and takes its buffer.
    @inline(never)
    mutating func setAside(_ request: inout RequestSlot, _ index: RequestIndex) -> CapsuleIndex {
        guard let bytes = request.capsule.bytes, !request.capsule.buffer.isNone else { return .none }
        let count = request.capsule.byteCount
        let copy = aside[index]
        copy.copyMemory(from: bytes, byteCount: count)
        request.capsule.moved(to: copy)
        request.transfer.moved(from: bytes, count: count, to: copy)
        return take(&request.capsule, request.block.channel)
    }

    /// Doubled, so that many channels cost little.
    @inline(never)
    private mutating func grow(to count: Int) {
        let grown = UnsafeMutableBufferPointer<Int>.allocate(capacity: max(count, heldByChannel.count * 2, 16))
        grown.initialize(repeating: 0)
        for channel in heldByChannel.indices { grown[channel] = heldByChannel[channel] }
        heldByChannel.deallocate()
        heldByChannel = grown
    }
}

/// Memory for capsules that were set aside, one place for each request. The system gives it as it is touched.
private struct CapsuleStore: ~Copyable {
    private let base: UnsafeMutableRawPointer
    private let stride: Int

    /// Data behind the entry begins at a multiple of this, in bytes, as direct I/O wants it.
    private static let alignment = 512

    init(capsuleBytes: Int, count: Int) {
        let data = capsuleBytes - SubmissionEntry.byteCount
        stride = Self.alignment + (data + Self.alignment - 1) / Self.alignment * Self.alignment
        base = .allocate(byteCount: stride * count, alignment: Self.alignment)
    }

    deinit { base.deallocate() }

    /// The place of a request's capsule.
    subscript(request: RequestIndex) -> UnsafeMutableRawPointer {
        base + request.offset * stride + (Self.alignment - SubmissionEntry.byteCount)
    }
}
