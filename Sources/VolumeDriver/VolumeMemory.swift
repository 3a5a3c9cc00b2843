import Base
import Buffers
import FabricInterface
import InitiatorTransport
import Memory
import NVMeInitiator

/// The volume's registered memory: the engine's own pages, buffers for a user who brings no memory along, and areas of users
/// that have announced theirs. Registered once with each device and direction, so that one write is read by three targets
/// from the same place.
///
/// Belongs to the group's thread.
public final class VolumeMemory: HostMemory, @unchecked Sendable {
    // Unchecked: the group's thread alone uses it.

    let engine: RegisteredArena
    private let buffers: RegisteredArena?
    private let pool: DataPool?
    /// Zeroes to write to members without Write Zeroes, once there is such a member.
    private var zeroArena: RegisteredArena?
    /// The devices that members are reached through, or were until they were removed.
    private var devices: [Device] = []
    private var timesAsked: UInt64 = 0
    private let areas: UnsafeMutablePointer<Area>
    private var areaCount = 0
    /// The registrations of areas, which volumes of one group may share.
    private let registrations: SharedRegistrations

    /// A device that memory is registered with; one context stands for all of its domain.
    private struct Device {
        var domain: UInt
        var context: FabricContext
        /// When a connection last asked for it, counted in times of asking.
        var lastAsked: UInt64
        /// The areas have keys for it.
        var isRegistered = true
    }

    /// Memory that users may do I/O with.
    private struct Area {
        var start: UnsafeMutableRawPointer
        var count: Int
        /// How often it has been announced.
        var users = 1
        /// Those of an arena last as long as it.
        var isArena = false
        var keys = [8 of TransferKeys](repeating: TransferKeys())

        var memory: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(start: start, count: count) }

        @inline(__always)
        func holds(_ address: UnsafeMutableRawPointer, _ length: Int) -> Bool {
            address >= start && address - start <= count - length
        }
    }

    /// Devices that may be known, and areas. Three members use three devices at once, and three more while their former
    /// connections end.
    private static let maxDevices = 8
    private static let maxAreas = 256

    /// - Parameter bufferBytes: 0 for no buffers.
    init(
        engineBytes: Int, bufferBytes: Int, registrations: SharedRegistrations? = nil
    ) throws(TercetError) {
        self.registrations = registrations ?? SharedRegistrations()
        engine = try RegisteredArena(bytes: engineBytes)
        buffers = bufferBytes > 0 ? try RegisteredArena(bytes: bufferBytes) : nil
        pool = buffers.map { DataPool($0.memory, reservedBytes: 0) }
        areas = .allocate(capacity: Self.maxAreas)
        super.init()
        if let memory = buffers?.memory, let start = memory.baseAddress {
            areas.initialize(to: Area(start: start, count: memory.count, isArena: true))
            areaCount = 1
        }
    }

    deinit {
        for index in 0..<areaCount where !areas[index].isArena { deregister(areas[index], devices.count) }
        areas.deallocate()
    }

    /// A buffer for I/O on the volume, or `nil` when none is left.
    public func allocate(_ bytes: Int) -> UnsafeMutableRawPointer? { pool?.allocate(bytes, priority: .io) }

    /// Gives a buffer back.
    public func free(_ buffer: UnsafeMutableRawPointer) { pool?.free(buffer) }

    /// `bytes` of zeroes for a member whose target has no Write Zeroes. On the group's thread.
    func zeroes(_ bytes: Int, with context: FabricContext) throws -> IOSegment {
        let arena = try zeroArena ?? RegisteredArena(bytes: bytes)
        zeroArena = arena
        guard let base = arena.memory.baseAddress else { invariantViolated("an arena has memory") }
        return IOSegment(base, bytes, try arena.register(with: context, access: .outgoing))
    }

    // MARK: Areas

    /// Registers memory of a user, for its I/O to need no copy. Where that cannot be, its I/O is copied.
    func announce(_ memory: UnsafeMutableRawBufferPointer) {
        guard let start = memory.baseAddress else { return }
        if let known = (0..<areaCount).first(where: { areas[$0].start == start && areas[$0].count == memory.count }) {
            areas[known].users += 1
            return
        }
        guard areaCount < Self.maxAreas else { return }
        var area = Area(start: start, count: memory.count)
        for number in devices.indices where devices[number].isRegistered {
            do throws(TercetError) { area.keys[number] = try register(area, devices[number].context) } catch {
                return deregister(area, number)
            }
        }
        (areas + areaCount).initialize(to: area)
        areaCount += 1
    }

    /// A user's memory is used no more.
    func withdraw(_ memory: UnsafeMutableRawBufferPointer) {
        guard
            let place = (0..<areaCount).first(where: {
                areas[$0].start == memory.baseAddress && areas[$0].count == memory.count && !areas[$0].isArena
            })
        else { return }
        areas[place].users -= 1
        guard areas[place].users == 0 else { return }
        deregister(areas[place], devices.count)
        areaCount -= 1
        areas[place] = areas[areaCount]
    }

    /// Whether I/O may use the memory as it is.
    @inline(__always)
    func holds(_ address: UnsafeMutableRawPointer, _ length: Int) -> Bool {
        for index in 0..<areaCount where areas[index].holds(address, length) { return true }
        return false
    }

    private func register(_ area: Area, _ context: FabricContext) throws(TercetError) -> TransferKeys {
        try registrations.keys(of: area.memory, with: context)
    }

    /// Ends an area's registrations with the first devices.
    private func deregister(_ area: Area, _ count: Int) {
        for number in 0..<count where devices[number].isRegistered { deregister(area, on: number) }
    }

    private func deregister(_ area: Area, on number: Int) {
        registrations.release(area.memory, with: devices[number].context)
    }

    // MARK: Devices

    public override func device(_ context: FabricContext) throws(TercetError) -> Int {
        timesAsked += 1
        let device = Device(domain: context.domain, context: context, lastAsked: timesAsked)
        if let known = devices.firstIndex(where: { $0.domain == device.domain && $0.isRegistered }) {
            devices[known].lastAsked = timesAsked
            return known
        }
        let number = devices.count < Self.maxDevices ? devices.count : forgetOldest()
        for index in 0..<areaCount {
            do throws(TercetError) {
                areas[index].keys[number] =
                    try areas[index].isArena
                    ? buffers?.transferKeys(with: context) ?? TransferKeys() : register(areas[index], context)
            } catch {
                for earlier in 0..<index where !areas[earlier].isArena {
                    registrations.release(areas[earlier].memory, with: context)
                }
                throw error
            }
        }
        if number == devices.count { devices.append(device) } else { devices[number] = device }
        return number
    }

    /// Gives up the device that no connection has asked for the longest: it was removed, as more are known than can be in use.
    private func forgetOldest() -> Int {
        var oldest = 0
        for number in devices.indices where devices[number].lastAsked < devices[oldest].lastAsked { oldest = number }
        if devices[oldest].isRegistered {
            for index in 0..<areaCount where !areas[index].isArena { deregister(areas[index], on: oldest) }
        }
        devices[oldest].isRegistered = false
        return oldest
    }

    /// `buffer` is an address within a buffer that `allocate` gave out, or within an area.
    public override func segment(_ buffer: UInt64, length: Int, isIncoming: Bool, device: Int) -> IOSegment? {
        guard let address = UnsafeMutableRawPointer(bitPattern: UInt(buffer)) else { return nil }
        for index in 0..<areaCount where areas[index].holds(address, length) {
            return IOSegment(address, length, areas[index].keys[device].region(isIncoming: isIncoming))
        }
        return nil
    }
}

extension IOSegment {
    /// Memory under the keys of its region.
    @inline(__always)
    init(_ address: UnsafeMutableRawPointer, _ length: Int, _ region: MemoryRegion) {
        self.init(address: address, length: length, localKey: region.localKey, remoteKey: region.remoteKey)
    }
}
