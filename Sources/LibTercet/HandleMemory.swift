import FabricInterface
import Memory
import NVMeInitiator
import VolumeDriver

/// The memory that a handle's operations use: what `tercet_alloc` gave out, registered for good, and any other, registered
/// through a cache for as long as an operation uses it.
///
/// To a volume a buffer is named by its operation's slot and an offset in it: see `name`.
final class HandleMemory: HostMemory {
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

    /// What an operation has of registrations.
    private struct Use {
        var base: UnsafeMutableRawPointer?
        var length = 0
        var registrations = [4 of Registration?](repeating: nil)
        var isRegistered = false
    }

    private var devices: [Device] = []
    private var arenas: [RegisteredArena] = []
    private let ranges: UnsafeMutablePointer<Range>
    private let rangeCount: UnsafeMutablePointer<Int>
    private let uses: UnsafeMutablePointer<Use>
    private let depth: Int
    private let pinnedBytesLimit: Int

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

    override func device(_ context: FabricContext) throws(FabricError) -> Int {
        if let known = devices.firstIndex(where: { $0.domain == context.domain }) { return known }
        guard devices.count < Self.maxDevices else {
            throw FabricError(operation: "memory", code: 0, reason: "one handle uses \(Self.maxDevices) devices")
        }
        let number = devices.count
        for index in arenas.indices { ranges[index].keys[number] = try arenas[index].transferKeys(with: context) }
        let cache = RegistrationCache(context, pinnedBytesLimit: pinnedBytesLimit)
        devices.append(Device(domain: context.domain, context: context, front: cache.makeFront(), cache: cache))
        return number
    }

    /// What the caches of all devices have counted.
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

    /// Notes the memory of an operation, and registers it with the device that it will most likely use. False where that
    /// is impossible now; then nothing is noted.
    @inline(__always)
    func begin(_ slot: Int, _ base: UnsafeMutableRawPointer, _ length: Int, isIncoming: Bool, device: Int) -> Bool {
        uses[slot].base = base
        uses[slot].length = length
        return segment(slot, offset: 0, length: length, isIncoming: isIncoming, device: device) != nil
    }

    /// An operation has ended, or was not begun.
    @inline(__always)
    func end(_ slot: Int) {
        if _fastPath(!uses[slot].isRegistered) { return }
        uses[slot].isRegistered = false
        for number in 0..<Self.maxDevices {
            guard let registration = uses[slot].registrations[number] else { continue }
            devices[number].front.release(registration)
            uses[slot].registrations[number] = nil
        }
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
        do throws(FabricError) {
            let registration = try devices[device].front.acquire(
                base, length: uses[slot].length, access: isIncoming ? .incoming : .outgoing)
            uses[slot].registrations[device] = registration
            uses[slot].isRegistered = true
            return IOSegment(
                address: address, length: length, localKey: registration.localKey,
                remoteKey: registration.remoteKey)
        } catch { return nil }
    }

    /// What a volume is told as the buffer of a part of an operation.
    static func name(_ slot: Int, offset: Int) -> UInt64 { UInt64(slot) << 48 | UInt64(offset) }

    /// The longest operation whose parts can be named.
    static let longestNamed: UInt64 = 1 << 48

    override func segment(_ buffer: UInt64, length: Int, isIncoming: Bool, device: Int) -> IOSegment? {
        segment(
            Int(buffer >> 48), offset: Int(buffer & (Self.longestNamed - 1)), length: length, isIncoming: isIncoming,
            device: device)
    }
}
