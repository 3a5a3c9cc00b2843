import Base
import NVMeSpec
import TargetTransport

/// A namespace whose device is slow gathers commands, and with them capsules' buffers and data memory. It must not gather so
/// much that the commands of other namespaces and of other hosts find nothing: what a channel may hold is measured by what
/// is free, so that something always is (dynamic thresholds, as switches share their buffers).
extension CommandEngine {
    /// Counts a command's capsule for its channel. Where the channel holds more of them than are free, the capsule is set
    /// aside, and its buffer is given back at once.
    @inline(__always)
    func takeShare(_ index: RequestIndex) {
        let channel = requests[index].block.channel
        guard !channel.isNone, !requests[index].capsule.buffer.isNone else { return }
        if _fastPath(shares.takeCapsule(channel) <= traits.capsules - heldCapsules) { return }
        setAside(index)
    }

    /// Copies a request's capsule to memory of our own and gives its buffer back.
    @inline(never)
    func setAside(_ index: RequestIndex) {
        guard let bytes = requests[index].capsule.bytes, !requests[index].capsule.buffer.isNone else { return }
        let length = SubmissionEntry.byteCount + Int(requests[index].capsule.dataLength)
        let copy = aside[index]
        copy.copyMemory(from: bytes, byteCount: length)
        requests[index].capsule.bytes = copy
        // Data that is used where it arrived goes along.
        if let data = requests[index].transfer.data, data >= bytes, data <= bytes + length {
            requests[index].transfer.data = copy + (data - bytes)
        }
        returnCapsule(index)
    }

    /// Gives the buffer of a request's capsule back, if it still has one.
    @inline(__always)
    func returnCapsule(_ index: RequestIndex) {
        let buffer = forgetCapsule(index)
        if !buffer.isNone { order(.giveBack(buffer)) }
    }

    /// Takes the buffer of a capsule from a request, for an order that gives it back.
    @inline(__always)
    func forgetCapsule(_ index: RequestIndex) -> CapsuleIndex {
        let buffer = requests[index].capsule.buffer
        guard !buffer.isNone else { return buffer }
        requests[index].capsule.buffer = .none
        heldCapsules -= 1
        if !requests[index].block.channel.isNone { shares.giveCapsule(requests[index].block.channel) }
        return buffer
    }
}

/// Capsules' buffers and data memory that the requests of each channel hold.
struct ChannelShares {
    private struct Share: BitwiseCopyable {
        var capsules = 0
        var bytes = 0
    }

    private var shares: [Share] = []

    /// A channel may hold so many times as much memory as is free: 80 % of all, alone.
    private static let factor = 4

    /// Counts one more capsule and returns how many there are.
    @inline(__always)
    mutating func takeCapsule(_ channel: ChannelIndex) -> Int {
        if _slowPath(channel.offset >= shares.count) { grow(to: channel.offset + 1) }
        shares[channel.offset].capsules += 1
        return shares[channel.offset].capsules
    }

    @inline(__always)
    mutating func giveCapsule(_ channel: ChannelIndex) { shares[channel.offset].capsules -= 1 }

    /// Whether a channel may have so many more bytes. One that has none always may.
    @inline(__always)
    func mayTake(_ bytes: Int, _ channel: ChannelIndex, free: Int) -> Bool {
        guard !channel.isNone else { return true }
        let held = shares[channel.offset].bytes
        return held == 0 || held + bytes <= free * Self.factor
    }

    @inline(__always)
    mutating func takeBytes(_ bytes: UInt32, _ channel: ChannelIndex) {
        if !channel.isNone { shares[channel.offset].bytes += Int(bytes) }
    }

    @inline(__always)
    mutating func giveBytes(_ bytes: UInt32, _ channel: ChannelIndex) {
        if !channel.isNone { shares[channel.offset].bytes -= Int(bytes) }
    }

    /// Once for each channel.
    private mutating func grow(to count: Int) {
        while shares.count < count { shares.append(Share()) }
    }
}

/// Memory for capsules that were set aside, one place for each request. The system gives it as it is touched.
struct CapsuleStore: ~Copyable {
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
