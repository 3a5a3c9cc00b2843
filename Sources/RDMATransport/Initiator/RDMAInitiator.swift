import Base
import FabricInterface
import InitiatorTransport
import NVMeSpec

/// NVMe over RDMA, the host's side (NVMe RDMA Transport Specification): moves commands as SENDs and lets controllers reach data
/// by keyed SGLs. It owns its reactor's `Fabric`.
///
/// Keeps the accounts of receives and SENDs and knows what travels in a capsule; of a command it reads its opcode's direction
/// and writes its data pointer, no more.
public final class RDMAInitiator: HostTransport {
    let fabric: Fabric
    var connections: ConnectionTable
    var arrivals = Arrivals()
    private var devices: [HostDevice] = []
    /// The same, for each round: counting references would cost more than the look.
    private var looks: [Unmanaged<HostDevice>] = []
    private let completionEntries: Int
    private let controlBuffers: Int
    private var nextLook = MonotonicTime(nanoseconds: 0)
    private var now = MonotonicTime(nanoseconds: 0)

    /// - Parameters:
    ///   - fabric: this reactor's own.
    ///   - completionEntries: entries of the completion queue on each device: two for each command of all connections.
    ///   - connections: so many at once; half of them on one device.
    ///   - controlBuffers: control transfers on one device at once, in each direction.
    public init(_ fabric: Fabric, completionEntries: Int = 8192, connections: Int = 512, controlBuffers: Int = 32) {
        self.fabric = fabric
        self.controlBuffers = controlBuffers
        self.connections = ConnectionTable(capacity: connections)
        self.completionEntries = completionEntries
    }

    /// Queue pairs on one device.
    private var queuePairs: Int { connections.capacity / 2 }

    public var connectionCapacity: Int { connections.capacity }

    // MARK: Rounds

    public func poll(now: MonotonicTime) -> CommandEvents {
        self.now = now
        arrivals.clear()
        if now >= nextLook || !connections.isSettled {
            nextLook = now.advanced(byNanoseconds: HostLimits.eventPeriodNanoseconds)
            while let event = fabric.nextEvent() { handle(event) }
        }
        for place in 0..<looks.count {
            looks[place]._withUnsafeGuaranteedRef { device in
                let completions = device.poll()
                for position in 0..<completions.count { handle(completions[position]) }
            }
        }
        if !connections.isSettled { finishClosings() }
        return arrivals.commands
    }

    public func nextEvent() -> HostConnectionEvent? { arrivals.nextConnectionEvent() }

    public func flush() {
        for place in 0..<looks.count { looks[place]._withUnsafeGuaranteedRef { $0.work.flush() } }
    }

    // MARK: Ending connections

    public func close(_ index: HostConnectionIndex) {
        switch connections[index].state {
        case .free, .closing: return
        case .resolving, .connecting:
            // Destroyed with the next poll: until its end has been told, its index is not used again.
            connections.beganClosing(index, deadline: MonotonicTime(nanoseconds: 0))
        case .live:
            // Collected work is posted first: all that was counted comes back.
            connections[index].device?.takeUnretainedValue().work.flush()
            connections.beganClosing(index, deadline: now.advanced(byMilliseconds: HostLimits.flushMilliseconds))
            fabric.disconnect(connections[index].connection)
        }
    }

    private func finishClosings() {
        for index in connections.closing where connections[index].isDrained || connections[index].closingDeadline <= now
        {
            fabric.destroy(connections[index].connection)
            connections.release(index)
            arrivals.append(.ended(index))
        }
    }

    public func shutDown() {
        for index in connections.all {
            fabric.destroy(connections[index].connection)
            connections.release(index)
        }
        fabric.close()
    }

    // MARK: Devices

    /// The device of a context, known from its first connection on.
    func device(_ context: FabricContext) throws(ConnectionFailure) -> HostDevice {
        if let device = devices.first(where: { $0.context === context }) { return device }
        let device = try HostDevice(
            number: devices.count, context: context, completionEntries: completionEntries, queuePairs: queuePairs,
            controlBuffers: controlBuffers)
        devices.append(device)
        looks.append(.passUnretained(device))
        arrivals.makeRoom(for: devices.count * HostLimits.completionBatch)
        return device
    }

    func context(for connection: ConnectionHandle) throws(TercetError) -> FabricContext {
        try fabric.context(
            for: connection,
            ContextOptions(
                completionQueueEntries: completionEntries, sharedReceiveEntries: 0, queuePairs: queuePairs))
    }

    public func device(of index: HostConnectionIndex) -> TransportDevice? {
        guard let device = connections[index].device?.takeUnretainedValue() else { return nil }
        return TransportDevice(number: device.number, domain: device.context.domain, registrar: device.context)
    }

    public func takeControlBuffer(_ index: HostConnectionIndex, _ direction: DataDirection) -> ControlBuffer? {
        connections[index].device?.takeUnretainedValue().control.take(direction)
    }

    public func giveControlBuffer(_ buffer: ControlBuffer) { devices[buffer.device].control.give(buffer) }

    // MARK: Sleeping

    public var nextDeadline: MonotonicTime {
        connections.closing.reduce(.distantFuture) { min($0, connections[$1].closingDeadline) }
    }

    public var descriptors: [Int32] {
        [fabric.eventDescriptor] + devices.map { $0.context.notificationDescriptor }
    }

    public var descriptorGeneration: UInt64 { UInt64(devices.count) }

    public func expectEvents() { nextLook = MonotonicTime(nanoseconds: 0) }

    public func armNotifications() {
        expectEvents()
        for device in devices { device.context.armNotification() }
    }

    public func acknowledgeNotifications() {
        expectEvents()
        for device in devices { device.context.acknowledgeNotification() }
    }

    public func acknowledgeNotification(_ descriptor: Int32) {
        if descriptor == fabric.eventDescriptor { return expectEvents() }
        for device in devices where device.context.notificationDescriptor == descriptor {
            device.context.acknowledgeNotification()
        }
    }
}

/// The findings of a poll, on their way to the engine.
struct Arrivals: ~Copyable {
    private var buffer = UnsafeMutableBufferPointer<CommandEvent>(start: nil, count: 0)
    private var count = 0
    private var connectionEvents: [HostConnectionEvent] = []
    private var taken = 0

    deinit { buffer.deallocate() }

    /// Room for so many commands' events in one poll. None has arrived in this one that is kept.
    mutating func makeRoom(for capacity: Int) {
        let grown = UnsafeMutableBufferPointer<CommandEvent>.allocate(capacity: capacity)
        for index in 0..<count { grown[index] = buffer[index] }
        buffer.deallocate()
        buffer = grown
    }

    mutating func clear() { count = 0 }

    @inline(__always)
    mutating func append(_ event: CommandEvent) {
        buffer[count] = event
        count += 1
    }

    var commands: CommandEvents { CommandEvents(rebasing: buffer[..<count]) }

    mutating func append(_ event: HostConnectionEvent) { connectionEvents.append(event) }

    mutating func nextConnectionEvent() -> HostConnectionEvent? {
        guard taken < connectionEvents.count else {
            guard taken > 0 else { return nil }
            connectionEvents.removeAll(keepingCapacity: true)
            taken = 0
            return nil
        }
        taken += 1
        return connectionEvents[taken - 1]
    }
}
