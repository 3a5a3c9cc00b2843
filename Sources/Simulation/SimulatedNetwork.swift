import Base
import FabricInterface

/// One simulated world: its time, its devices, and what is under way between them. All fabrics and disks of a
/// simulation share it.
///
/// Everything happens in one thread and in an order that the seed decides: the same calls with the same seed make the
/// same history. Time passes only in `step` and what is built on it.
public final class SimulatedNetwork {
    public private(set) var now: MonotonicTime
    public let seed: UInt64
    public var random: SeededRandom
    public var delays = SimulatedDelays()
    public internal(set) var counters = SimulatedCounters()
    /// Decides the fate of each message; without it all are delivered.
    public var fate: ((SimulatedMessage) -> SimulatedFate)?
    /// Decides the fate of the answer to work that has been done; without it all are delivered. One that is lost leaves
    /// the sender without knowing.
    public var acknowledgementFate: ((SimulatedMessage) -> SimulatedFate)?
    /// Raised where a poller may have something to do that it had not before: a completion or a connection event has come in,
    /// or an action has been run.
    public private(set) var news: UInt64 = 0
    /// Folds all that has happened: equal where two runs had the same history.
    public private(set) var historyHash: UInt64 = 0xcbf2_9ce4_8422_2325

    private var events = EventHeap()
    private var nextSequence: UInt64 = 0
    private var actions: [UInt64: () -> Void] = [:]
    private var devices: [SimulatedDevice] = []
    private var nextHandle: UInt64 = 1
    private var nextDevice: UInt = 1
    private var nextPort: UInt16 = 49152
    var queuePairs = QueuePairRegistry()
    var listeners: [SimulatedListener] = []
    /// Connections between `handOver` and `adopt`.
    var transfers: [UInt: SimulatedConnection] = [:]

    public init(seed: UInt64) {
        self.seed = seed
        random = SeededRandom(seed: seed)
        // Not zero: a time of zero means "at once" in many places.
        now = MonotonicTime(nanoseconds: 1_000_000_000)
    }

    /// Adds a device with its addresses.
    public func makeDevice(
        _ name: String, addresses: [String], limits: DeviceLimits = .simulated, node: Int = 0
    ) -> SimulatedDevice {
        let device = SimulatedDevice(
            name, addresses: addresses, limits: limits, number: nextDevice, node: node, network: self)
        nextDevice += 1
        devices.append(device)
        return device
    }

    /// Takes a device out of the network: nothing reaches it any more, and its addresses are free for another.
    public func remove(_ device: SimulatedDevice) {
        device.isReachable = false
        devices.removeAll { $0 === device }
    }

    func device(at address: String) -> SimulatedDevice? { devices.first { $0.addresses.contains(address) } }

    func newHandle() -> UInt64 {
        nextHandle += 1
        return nextHandle
    }

    func newPort() -> UInt16 {
        nextPort = nextPort == .max ? 49152 : nextPort + 1
        return nextPort
    }

    // MARK: Time

    /// Runs `body` later.
    public func schedule(afterNanoseconds delay: UInt64, _ body: @escaping () -> Void) {
        let number = nextSequence
        actions[number] = body
        insert(.action, afterNanoseconds: delay, value: number)
    }

    func insert(
        _ kind: SimulatedEvent.Kind, _ queuePair: QueuePairReference = .none, at time: UInt64, value: UInt64 = 0
    ) {
        events.insert(
            SimulatedEvent(
                time: max(time, now.nanoseconds), sequence: nextSequence, kind: kind, queuePair: queuePair, value: value
            ))
        nextSequence += 1
    }

    func insert(
        _ kind: SimulatedEvent.Kind, _ queuePair: QueuePairReference = .none, afterNanoseconds delay: UInt64,
        value: UInt64 = 0
    ) {
        insert(kind, queuePair, at: now.advanced(byNanoseconds: delay).nanoseconds, value: value)
    }

    /// When the next event happens; never where nothing is under way.
    public var nextEventTime: MonotonicTime {
        events.firstTime.map { MonotonicTime(nanoseconds: $0) } ?? .distantFuture
    }

    /// Goes on to the next event and lets it happen; `false` where nothing is under way.
    @discardableResult
    public func step() -> Bool {
        guard let event = events.removeFirst() else { return false }
        now = MonotonicTime(nanoseconds: event.time)
        note(event.time ^ UInt64(event.kind.rawValue) << 56 ^ UInt64(event.queuePair.index) << 40)
        switch event.kind {
        case .arrival: arrived(event.queuePair)
        case .acknowledgement: acknowledged(event.queuePair)
        case .resume: resumed(event.queuePair, waiting: event.value)
        case .timeout: timedOut(event.queuePair, waiting: event.value)
        case .wake: break
        case .action:
            tellNews()
            actions.removeValue(forKey: event.value)?()
        }
        return true
    }

    /// A poller may have something to do.
    public func tellNews() { news &+= 1 }

    /// Lets everything happen that is due until `time`, and goes on to that time.
    public func run(until time: MonotonicTime) {
        while nextEventTime <= time { step() }
        now = max(now, time)
    }

    /// Lets events happen until nothing is under way; returns how many, at most `limit`.
    @discardableResult
    public func runUntilIdle(limit: Int = 1_000_000) -> Int {
        var count = 0
        while count < limit, step() { count += 1 }
        return count
    }

    /// Nothing happens any more. What was still to happen is forgotten: it may refer to what refers to the network.
    public func close() {
        events = EventHeap()
        actions = [:]
    }

    /// Adds something to the history that two runs are compared by.
    public func note(_ value: UInt64) { historyHash = (historyHash ^ value) &* 0x100_0000_01b3 }

    // MARK: Messages

    /// A number of the range, as the seed decides.
    public func draw(_ range: ClosedRange<UInt64>) -> UInt64 {
        range.lowerBound == range.upperBound ? range.lowerBound : .random(in: range, using: &random)
    }

    /// The time that a message takes, and whether it is refused there; `nil` where it is lost.
    func transit(
        _ kind: SimulatedMessage.Kind, from source: SimulatedDevice, to destination: SimulatedDevice,
        _ range: ClosedRange<UInt64>
    ) -> (time: UInt64, isRefused: Bool)? {
        let step = counters.messages
        counters.messages += 1
        let time = draw(range)
        guard source.isReachable, destination.isReachable else { return nil }
        guard let fate else { return (time, false) }
        switch fate(message(kind, source, destination, step)) {
        case .delivered: return (time, false)
        case .delayed(let more): return (time + more, false)
        case .refused: return (time, kind == .rdmaRead || kind == .rdmaWrite)
        case .lost: return nil
        }
    }

    /// The time that an answer takes to come back, or `nil` where it is lost.
    func acknowledgementTime(from source: SimulatedDevice, to destination: SimulatedDevice) -> UInt64? {
        let time = draw(delays.transit)
        guard let acknowledgementFate else { return time }
        switch acknowledgementFate(message(.acknowledgement, source, destination, counters.messages)) {
        case .delivered, .refused: return time
        case .delayed(let more): return time + more
        case .lost: return nil
        }
    }

    private func message(
        _ kind: SimulatedMessage.Kind, _ source: SimulatedDevice, _ destination: SimulatedDevice, _ step: UInt64
    ) -> SimulatedMessage {
        SimulatedMessage(
            kind: kind, sourceDevice: source, destinationDevice: destination, sourceNode: source.node,
            destinationNode: destination.node, step: step)
    }
}
