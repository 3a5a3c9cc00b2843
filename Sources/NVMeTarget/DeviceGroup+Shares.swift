import Base
import Glibc
import Memory
import NVMeSpec

/// A namespace whose device is slow gathers commands, and with them receive buffers and data memory. It must not gather so
/// much that the commands of other namespaces and of other hosts find nothing: what a channel may hold is measured by what
/// is free, so that something always is (dynamic thresholds, as switches share their buffers).
extension DeviceGroup {
    /// Counts a command's receive buffer for its channel. Where the channel holds more of them than are free, the capsule is
    /// set aside, and the buffer is given back at once.
    @inline(__always)
    func takeShare(_ request: UnsafeMutablePointer<RequestSlot>) {
        let channel = request.pointee.channel
        guard channel != noSlot, request.pointee.receive != noSlot else { return }
        if _fastPath(shares.takeReceive(channel) <= receiveEntries - heldReceives) { return }
        setAside(request)
    }

    /// Copies a request's capsule to memory of our own and gives the receive buffer back.
    @inline(never)
    func setAside(_ request: UnsafeMutablePointer<RequestSlot>) {
        let length = SubmissionEntry.byteCount + Int(request.pointee.capsuleDataLength)
        let copy = aside[UInt32(request - requests.slots)] + DeviceGroup.capsuleOffset
        let buffer = capsule(request.pointee.receive)
        copy.copyMemory(from: buffer, byteCount: length)
        // Data that is used where it arrived goes along.
        if let data = request.pointee.data, data >= buffer, data <= buffer + length {
            request.pointee.data = copy + (data - buffer)
        }
        returnReceive(request)
    }

    /// Gives a request's receive buffer back, if it still has one.
    @inline(__always)
    func returnReceive(_ request: UnsafeMutablePointer<RequestSlot>) {
        let receive = request.pointee.receive
        guard receive != noSlot else { return }
        request.pointee.receive = noSlot
        heldReceives -= 1
        if request.pointee.channel != noSlot { shares.giveReceive(request.pointee.channel) }
        repostReceive(receive)
    }
}

/// Receive buffers and data memory that the requests of each channel hold, by the channel's place in the reactor's
/// `BlockSet`.
struct ChannelShares {
    private struct Share: BitwiseCopyable {
        var receives = 0
        var bytes = 0
    }

    private var shares: [Share] = []

    /// A channel may hold so many times as much memory as is free: 80 % of all, alone.
    private static let factor = 4

    /// Counts one more receive buffer and returns how many there are.
    @inline(__always)
    mutating func takeReceive(_ channel: UInt32) -> Int {
        if _slowPath(Int(channel) >= shares.count) { grow(to: Int(channel) + 1) }
        shares[Int(channel)].receives += 1
        return shares[Int(channel)].receives
    }

    @inline(__always)
    mutating func giveReceive(_ channel: UInt32) { shares[Int(channel)].receives -= 1 }

    /// Whether a channel may have so many more bytes. One that has none always may.
    @inline(__always)
    func mayTake(_ bytes: Int, _ channel: UInt32, free: Int) -> Bool {
        guard channel != noSlot else { return true }
        let held = shares[Int(channel)].bytes
        return held == 0 || held + bytes <= free * Self.factor
    }

    @inline(__always)
    mutating func takeBytes(_ bytes: UInt32, _ channel: UInt32) {
        if channel != noSlot { shares[Int(channel)].bytes += Int(bytes) }
    }

    @inline(__always)
    mutating func giveBytes(_ bytes: UInt32, _ channel: UInt32) {
        if channel != noSlot { shares[Int(channel)].bytes -= Int(bytes) }
    }

    /// Once for each channel.
    private mutating func grow(to count: Int) {
        while shares.count < count { shares.append(Share()) }
    }
}

/// Memory for capsules that were set aside, one place for each request. It is not registered, and taken from the system
/// only as it is used.
struct CapsuleStore: ~Copyable {
    private let base: UnsafeMutableRawPointer
    private let stride: Int
    private let byteCount: Int

    init(stride: Int, count: Int) throws(MemoryError) {
        self.stride = stride
        byteCount = stride * count
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        let address = mmap(nil, byteCount, PROT_READ | PROT_WRITE, flags, -1, 0)
        guard let address, address != MAP_FAILED else {
            throw MemoryError(operation: "mmap of \(byteCount) bytes", code: errno)
        }
        base = address
    }

    deinit { munmap(base, byteCount) }

    subscript(request: UInt32) -> UnsafeMutableRawPointer { base + Int(request) * stride }
}
