import Base
import BlockInterface

/// How much of a volume its users may have, whichever server they come by.
public struct VolumeLimits: Equatable, Sendable {
    /// 0 for no limit.
    public var iosPerSecond: UInt64
    /// Bytes of data read and written; 0 for no limit.
    public var bytesPerSecond: UInt64
    /// The volume's part where volumes of one reactor are in each other's way, beside the others' weights.
    public var weight: UInt32

    public static let weights: ClosedRange<UInt32> = 1...10_000
    /// No limit is greater.
    public static let greatest: UInt64 = 1 << 40

    public init(iosPerSecond: UInt64 = 0, bytesPerSecond: UInt64 = 0, weight: UInt32 = 100) {
        self.iosPerSecond = iosPerSecond
        self.bytesPerSecond = bytesPerSecond
        self.weight = weight
    }
}

/// Lets through so much a second: the generic cell rate algorithm (ITU-T I.371). An I/O costs time; one may begin while no more time has
/// been spent ahead than `burst`. One that is longer than the burst begins too, and those behind it wait for longer.
struct RateLimit: BitwiseCopyable {
    /// 1,024ths of a nanosecond for each unit; 0 for no limit.
    private let cost: UInt64
    /// When all that has begun is paid for, in the same unit.
    private var paid: UInt64 = 0

    /// Nanoseconds.
    private static let burst: UInt64 = 20_000_000
    private static let second: UInt64 = 1_000_000_000 << 10

    init(perSecond: UInt64) { cost = perSecond == 0 ? 0 : max(1, Self.second / perSecond) }

    /// Whether an I/O may begin.
    @inline(__always)
    func isOpen(_ now: MonotonicTime) -> Bool { paid <= (now.nanoseconds &+ Self.burst) << 10 }

    /// When one may begin again.
    var opensAt: MonotonicTime {
        let end = (paid + 1023) >> 10
        return MonotonicTime(nanoseconds: end > Self.burst ? end - Self.burst : 0)
    }

    @inline(__always)
    mutating func charge(_ units: UInt64, _ now: MonotonicTime) {
        guard cost > 0 else { return }
        let (price, overflow) = cost.multipliedReportingOverflow(by: units)
        // Nothing waits for longer than a minute for one I/O.
        paid = max(paid, now.nanoseconds << 10) + min(overflow ? .max : price, 60 * Self.second)
    }
}

/// The volumes of one reactor, where they compete: what is under way of all together fills a window, and then each may have under way
/// what its weight gives it. So the members' targets, the network and this processor do for each as much as it is due, and a volume whose
/// users ask for little waits for nobody. Belongs to the reactor's thread.
public final class FairShare: @unchecked Sendable {
    // Unchecked: the reactor's thread alone uses it.

    /// Units under way of all volumes, from which on weights count.
    private static let window: UInt64 = 256
    private var underWay: UInt64 = 0
    /// The weights of the volumes with something under way.
    private var activeWeight: UInt64 = 0

    public init() {}

    /// Whether a volume may have more under way.
    @inline(__always)
    func mayBegin(own: UInt64, weight: UInt32) -> Bool {
        own == 0 || underWay < Self.window || own * activeWeight < Self.window * UInt64(weight)
    }

    @inline(__always)
    func begin(_ units: UInt64, own: UInt64, weight: UInt32) {
        if own == 0 { activeWeight += UInt64(weight) }
        underWay += units
    }

    /// - Parameter own: what the volume has under way afterwards.
    @inline(__always)
    func end(_ units: UInt64, own: UInt64, weight: UInt32) {
        underWay -= units
        if own == 0 { activeWeight -= UInt64(weight) }
    }

    /// A volume with something under way has another weight.
    func change(_ old: UInt32, _ new: UInt32) { activeWeight = activeWeight + UInt64(new) - UInt64(old) }
}

/// The gate through which a volume's I/O goes: its limits, and its share beside others. Nothing is allocated for an I/O.
struct VolumeGate {
    private(set) var limits = VolumeLimits()
    private var ios = RateLimit(perSecond: 0)
    private var bytes = RateLimit(perSecond: 0)
    private let share: FairShare?
    /// Units under way.
    private var own: UInt64 = 0

    init(_ share: FairShare?) { self.share = share }

    /// I/O that runs is not stopped; what begins from here on keeps to the new limits.
    mutating func change(_ new: VolumeLimits) {
        if own > 0 { share?.change(limits.weight, new.weight) }
        if new.iosPerSecond != limits.iosPerSecond { ios = RateLimit(perSecond: new.iosPerSecond) }
        if new.bytesPerSecond != limits.bytesPerSecond { bytes = RateLimit(perSecond: new.bytesPerSecond) }
        limits = new
    }

    /// Whether an I/O may begin now.
    @inline(__always)
    func isOpen(_ now: MonotonicTime) -> Bool {
        ios.isOpen(now) && bytes.isOpen(now) && (share?.mayBegin(own: own, weight: limits.weight) ?? true)
    }

    /// When the limits let an I/O begin again; in the past where they do already.
    var opensAt: MonotonicTime { max(ios.opensAt, bytes.opensAt) }

    /// Units that an I/O counts for beside others: one, and one more for each 64 KiB of data.
    @inline(__always)
    private func units(_ request: BlockRequest) -> UInt64 {
        1 + (request.operation.usesData ? request.length >> 16 : 0)
    }

    @inline(__always)
    mutating func begin(_ request: BlockRequest, _ now: MonotonicTime) {
        ios.charge(1, now)
        if request.operation.usesData { bytes.charge(request.length, now) }
        guard let share else { return }
        let units = units(request)
        share.begin(units, own: own, weight: limits.weight)
        own += units
    }

    @inline(__always)
    mutating func end(_ request: BlockRequest) {
        guard let share else { return }
        let units = units(request)
        own -= units
        share.end(units, own: own, weight: limits.weight)
    }
}
