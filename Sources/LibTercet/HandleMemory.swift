import Base
import CLinux
import FabricInterface
import InitiatorTransport
import Memory
import NVMeInitiator
import VolumeDriver

/// The memory that a handle's operations use: what `tercet_alloc` gave out, registered for good, and any other, registered
/// through a cache for as long as an operation uses it.
///
/// To a volume a buffer is named by its operation's slot and an offset in it: see `name`.
final class HandleMemory: HostMemory, @unchecked Sendable {
    // Unchecked: the thread that drives the handle alone uses it.

    /// Devices that the handle has had connections on; a volume's members may be on three.
    private static let maxDevices = 4

    private struct Device {
        var domain: UInt
        var context: FabricContext
        var front: RegistrationFront
        var cache: RegistrationCache
    }

    /// An arena as the I/O path sees it, with what each device calls it.
    private struct Range {
        var start: UnsafeMutableRawPointer
        var count: Int
        var keys = [4 of TransferKeys](repeating: TransferKeys())
    }

    /// The registrations that an operation uses.
    private struct Use {
        var base: UnsafeMutableRawPointer?
        var length = 0
        var registrations = [4 of Registration?](repeating: nil)
        var isRegistered = false
        /// The caller's memory, where it cannot be registered; then `base` is what its data is copied through.
        var original: UnsafeMutableRawPointer?
        var isIncoming = false
    }

    private var devices: [Device] = []
    private var arenas: [RegisteredArena] = []
    private let ranges: UnsafeMutablePointer<Range>
    private let rangeCount: UnsafeMutablePointer<Int>
    private let uses: UnsafeMutablePointer<Use>
    private let depth: Int
    private let pinnedBytesLimit: Int
    /// Memory of the library's own that operations are copied through, by its start, with its bytes; and what of it is free.
    private var copies: [UnsafeMutableRawPointer: Int] = [:]
    private var freeCopies: [UnsafeMutableRawPointer] = []

    /// Areas that `allocate` gives out at once.
    private static let maxRanges = 4096

    init(depth: Int, pinnedBytesLimit: Int) {
        self.depth = depth
        self.pinnedBytesLimit = pinnedBytesLimit
        ranges = .allocate(capacity: Self.maxRanges)
        rangeCount = .allocate(capacity: 1)
        rangeCount.initialize(to: 0)
        uses = .allocate(capacity: depth)
        uses.initialize(repeating: Use(), count: depth)
        super.init()
    }

    deinit {
        ranges.deallocate()
        rangeCount.deallocate()
        uses.deallocate()
    }

    // MARK: Devices

    override func device(_ context: FabricContext) throws(TercetError) -> Int {
        if let known = devices.firstIndex(where: { $0.domain == context.domain }) { return known }
        guard devices.count < Self.maxDevices else {
            throw TercetError(call: "memory", errno: 0, reason: "one handle uses \(Self.maxDevices) devices")
        }
        let number = devices.count
        for index in arenas.indices { ranges[index].keys[number] = try arenas[index].transferKeys(with: context) }
        let cache = RegistrationCache(context, pinnedBytesLimit: pinnedBytesLimit)
        devices.append(Device(domain: context.domain, context: context, front: cache.makeFront(), cache: cache))
        return number
    }

    /// The counts of the caches of all devices.
    var counters: RegistrationCounters {
        devices.reduce(into: RegistrationCounters()) { total, device in
            let counters = device.cache.counters
            total.hits += counters.hits
            total.misses += counters.misses
            total.evictions += counters.evictions
            total.pinnedBytes += counters.pinnedBytes
        }
    }

    func invalidate(_ memory: UnsafeRawBufferPointer) { for device in devices { device.cache.invalidate(memory) } }

    // MARK: Memory of the library

    /// Registered memory, or `nil` where there is none.
    func allocate(_ bytes: Int) -> UnsafeMutableRawPointer? {
        guard bytes > 0, arenas.count < Self.maxRanges, let arena = try? RegisteredArena(bytes: bytes),
            let start = arena.memory.baseAddress
        else { return nil }
        var range = Range(start: start, count: arena.memory.count)
        for (number, device) in devices.enumerated() {
            guard let keys = try? arena.transferKeys(with: device.context) else { return nil }
            range.keys[number] = keys
        }
        (ranges + arenas.count).initialize(to: range)
        arenas.append(arena)
        rangeCount.pointee = arenas.count
        return start
    }

    func free(_ memory: UnsafeMutableRawPointer) {
        guard let index = arenas.firstIndex(where: { $0.memory.baseAddress == memory }) else { return }
        arenas.remove(at: index)
        for later in index..<arenas.count { ranges[later] = ranges[later + 1] }
        rangeCount.pointee = arenas.count
    }

    // MARK: The I/O path

    /// Notes the memory of an operation, and registers it with the device that it will most likely use. Where that cannot be
    /// done, the data is copied through memory of the library's own. False where there is none of that either.
    @inline(__always)
    func begin(_ slot: Int, _ base: UnsafeMutableRawPointer, _ length: Int, isIncoming: Bool, device: Int) -> Bool {
        uses[slot].base = base
        uses[slot].length = length
        if _fastPath(segment(slot, offset: 0, length: length, isIncoming: isIncoming, device: device) != nil) {
            return true
        }
        return beginCopy(slot, isIncoming: isIncoming)
    }

    /// Has an operation use a copy of its memory: a mapping of a file, for one, that the kernel does not let be pinned.
    private func beginCopy(_ slot: Int, isIncoming: Bool) -> Bool {
        guard let original = uses[slot].base, let copy = takeCopy(uses[slot].length) else { return false }
        // Memory that is not there ends the operation, and not the program.
        guard isIncoming || tercet_copy_in(copy, original, uses[slot].length) == 0 else {
            freeCopies.append(copy)
            return false
        }
        uses[slot].base = copy
        uses[slot].original = original
        uses[slot].isIncoming = isIncoming
        uses[slot].isRegistered = true
        return true
    }

    /// Memory to copy through: what an earlier operation has left, or new, within the limit on pinned memory.
    private func takeCopy(_ length: Int) -> UnsafeMutableRawPointer? {
        if let place = freeCopies.firstIndex(where: { copies[$0].map { $0 >= length } ?? false }) {
            return freeCopies.remove(at: place)
        }
        var bytes = Self.smallestCopy
        while bytes < length { bytes *= 2 }
        guard copies.values.reduce(bytes, +) <= pinnedBytesLimit, let copy = allocate(bytes) else { return nil }
        copies[copy] = bytes
        return copy
    }

    private static let smallestCopy = 128 << 10

    /// False where what was read could not be put where the caller wants it.
    private func endCopy(_ slot: Int, _ original: UnsafeMutableRawPointer, isSuccess: Bool) -> Bool {
        guard let copy = uses[slot].base else { return false }
        uses[slot].original = nil
        freeCopies.append(copy)
        return !uses[slot].isIncoming || !isSuccess
            || tercet_copy_out(original, copy, uses[slot].length) == 0
    }

    /// An operation has ended, or was not begun. False where it had read into a copy that cannot be handed on.
    @inline(__always)
    @discardableResult
    func end(_ slot: Int, isSuccess: Bool) -> Bool {
        if _fastPath(!uses[slot].isRegistered) { return true }
        uses[slot].isRegistered = false
        var isHandedOn = true
        if let original = uses[slot].original { isHandedOn = endCopy(slot, original, isSuccess: isSuccess) }
        for number in 0..<Self.maxDevices {
            guard let registration = uses[slot].registrations[number] else { continue }
            devices[number].front.release(registration)
            uses[slot].registrations[number] = nil
        }
        return isHandedOn
    }

    /// A part of an operation's memory with its keys on a device; `nil` where it cannot be registered now.
    @inline(__always)
    func segment(_ slot: Int, offset: Int, length: Int, isIncoming: Bool, device: Int) -> IOSegment? {
        guard let base = uses[slot].base else { return nil }
        let address = base + offset
        for index in 0..<rangeCount.pointee where ranges[index].start <= base {
            guard base - ranges[index].start <= ranges[index].count - uses[slot].length else { continue }
            let region = ranges[index].keys[device].region(isIncoming: isIncoming)
            return IOSegment(
                address: address, length: length, localKey: region.localKey, remoteKey: region.remoteKey)
        }
        if let known = uses[slot].registrations[device] {
            return IOSegment(
                address: address, length: length, localKey: known.localKey, remoteKey: known.remoteKey)
        }
        do throws(TercetError) {
            let registration = try devices[device].front.acquire(
                base, length: uses[slot].length, access: isIncoming ? .incoming : .outgoing)
            uses[slot].registrations[device] = registration
            uses[slot].isRegistered = true
            return IOSegment(
                address: address, length: length, localKey: registration.localKey,
                remoteKey: registration.remoteKey)
        } catch { return nil }
    }

    /// The buffer of a part of an operation, as a volume is told of it; never 0.
    static func name(_ slot: Int, offset: Int) -> UInt64 { UInt64(slot + 1) << 48 | UInt64(offset) }

    /// The longest operation whose parts can be named.
    static let longestNamed: UInt64 = 1 << 48

    override func segment(_ buffer: UInt64, length: Int, isIncoming: Bool, device: Int) -> IOSegment? {
        segment(
            Int(buffer >> 48) - 1, offset: Int(buffer & (Self.longestNamed - 1)), length: length,
            isIncoming: isIncoming,
            device: device)
    }
}
