import Base
import NVMeSpec
import TargetTransport

/// The life of a connection in the engine.
enum ConnectionState: UInt8, BitwiseCopyable {
    case free
    /// Commands flow.
    case live
    /// No answer is sent; requests end as their work ends.
    case closing

    /// The one place where a connection changes its state.
    mutating func move(to next: ConnectionState) {
        switch (self, next) {
        case (.free, .live), (.live, .closing), (.closing, .free): self = next
        default: invariantViolated("a connection makes only the listed transitions")
        }
    }
}

/// The kind of queue that a connection carries; decided by its Connect command.
enum QueueRole: UInt8, BitwiseCopyable {
    case unconnected
    /// Connected; its host has to show who it is before anything else.
    case authenticating
    case admin
    case io

    /// The kind of a connected queue.
    init(_ queueID: UInt16) { self = queueID == 0 ? .admin : .io }
}

/// The connections of one port.
typealias ConnectionTable = SlotTable<ConnectionIndex, ConnectionSlot>

/// One queue of a host, at the index that the port gave its connection. Plain data.
struct ConnectionSlot: BitwiseCopyable {
    private(set) var state = ConnectionState.free
    private(set) var role = QueueRole.unconnected
    private(set) var flowControlDisabled = false
    /// Closing, and its last request has ended.
    private(set) var isDrained = false
    /// As the transport's greeting said; Connect must say the same.
    private(set) var queueID: UInt16 = 0
    private var sqHead: UInt16 = 0
    /// Raised each time the slot is used anew: a late message for its former owner is recognised.
    private(set) var generation: UInt32 = 0
    /// Entries of the host's submission queue, and so the commands it may have unanswered; 1-based.
    private(set) var entries: UInt32 = 0
    /// Commands received and not answered.
    private(set) var unanswered: UInt32 = 0
    /// Commands answered.
    private(set) var answered: UInt64 = 0
    /// Requests that refer to this slot.
    private var requests: UInt32 = 0
    /// The first half of a fused operation, which waits for the second.
    private(set) var firstHalf = RequestIndex.none
    /// When it opened, or last had a Connect that was held: a host that never sends Connect is not waited for.
    private var awaitsConnectSince = MonotonicTime(nanoseconds: 0)
    /// The controller's place in the poll group's table, once connected.
    private(set) var controller = ControllerPlace.none
    /// The subsystem's namespaces as this reactor sees them.
    private(set) var namespaces = NamespaceTable()
    /// The states of the subsystem's ANA groups at the listener by which the host came.
    private(set) var access = AccessTable()
    /// The subsystem's counters of this reactor.
    private(set) var statistics: StatisticsReference? = nil
    /// The host's place among those of the subsystem.
    private(set) var host = HostIndex.none
    /// Commands since the controller was last told that the host is alive.
    private var commandsSinceReport: UInt32 = 0

    // MARK: The connection

    /// The port has opened it.
    mutating func open(_ origin: ConnectionOrigin, now: MonotonicTime) {
        let former = generation
        self = ConnectionSlot()
        state.move(to: .live)
        generation = former &+ 1
        awaitsConnectSince = now
        queueID = origin.queueID
        entries = origin.entries
    }

    /// Its Connect was answered.
    mutating func connect(_ queue: ConnectedQueue) {
        role = queue.mustAuthenticate ? .authenticating : QueueRole(queueID)
        entries = queue.entries
        flowControlDisabled = queue.hasNoFlowControl
        controller = queue.controller
        if let view = queue.view {
            namespaces = view.namespaces
            access = view.access
            statistics = view.statistics
            host = view.host
        }
    }

    /// The answer to a command that its role does not take.
    var refusal: Status { role == .authenticating ? .authenticationRequired : .commandSequenceError }

    /// Its host has shown who it is.
    mutating func authenticated() { if role == .authenticating { role = QueueRole(queueID) } }

    /// Its host is nobody until it has shown anew who it is.
    mutating func distrust() { if role != .unconnected { role = .authenticating } }

    mutating func close() { state.move(to: .closing) }

    /// It is closing; `true` once, when no request refers to it any more.
    @inline(__always)
    mutating func drain() -> Bool {
        guard state == .closing, requests == 0, !isDrained else { return false }
        isDrained = true
        return true
    }

    /// Its index is the port's again.
    mutating func release() {
        state.move(to: .free)
        generation &+= 1
    }

    /// Its Connect is held: that it does not come is not the reason to end it.
    mutating func connectIsHeld(at now: MonotonicTime) { awaitsConnectSince = now }

    /// The host has not sent Connect for so long that it is not waited for.
    func isOverdue(_ now: MonotonicTime) -> Bool {
        state == .live && role == .unconnected
            && now >= awaitsConnectSince.advanced(byMilliseconds: Limits.connectMilliseconds)
    }

    // MARK: Commands

    /// A capsule has arrived.
    @inline(__always)
    mutating func heard() { commandsSinceReport &+= 1 }

    /// Whether the host has sent anything since the last call.
    mutating func takeReport() -> Bool {
        defer { commandsSinceReport = 0 }
        return commandsSinceReport > 0
    }

    /// A command is taken up; `false` where the host has sent more than it may.
    @inline(__always)
    mutating func begin() -> Bool {
        requests += 1
        unanswered += 1
        // An answer that is ordered may still wait for room: there are no more of those, and of answers that have arrived while
        // the device has not said so, than a send queue of twice as many entries holds.
        return unanswered <= entries && requests <= entries * 3 + 256
    }

    /// A command is answered; the submission queue's head, for the answer.
    @inline(__always)
    mutating func answer() -> UInt16 {
        let next = UInt32(sqHead) + 1
        sqHead = next >= entries ? 0 : UInt16(truncatingIfNeeded: next)
        unanswered -= 1
        answered &+= 1
        return sqHead
    }

    /// A command ends without an answer.
    mutating func drop() { unanswered -= 1 }

    /// A request does not refer to the slot any more.
    @inline(__always)
    mutating func end() { requests -= 1 }

    // MARK: Fused operations

    /// Takes the half that waits.
    mutating func takeFirstHalf() -> RequestIndex? {
        defer { firstHalf = .none }
        return firstHalf.ifAny
    }

    mutating func wait(_ first: RequestIndex) { firstHalf = first }

    /// A half is answered or ends: it does not wait any more.
    mutating func forget(_ half: RequestIndex) { if firstHalf == half { firstHalf = .none } }
}

/// A queue as its Connect made it.
struct ConnectedQueue {
    /// Its host has to show who it is before anything else.
    var mustAuthenticate: Bool
    /// Entries of the submission queue.
    var entries: UInt32
    var hasNoFlowControl: Bool
    var controller: ControllerPlace
    /// The subsystem as the reactor sees it; for I/O queues.
    var view: ConnectedView?
}

/// A subsystem as a reactor sees it, for one host's I/O queues.
struct ConnectedView {
    var namespaces: NamespaceTable
    /// The states of ANA groups at the listener by which the host came.
    var access: AccessTable
    var statistics: StatisticsReference
    /// The host's place among those of the subsystem.
    var host: HostIndex
}

/// The connections of a port that are open or closing, and how each came.
struct BoundConnections {
    private(set) var indices: [ConnectionIndex] = []
    private var origins: [ConnectionOrigin?]

    init(capacity: Int) { origins = [ConnectionOrigin?](repeating: nil, count: capacity) }

    func origin(of connection: ConnectionIndex) -> ConnectionOrigin? { origins[connection.offset] }

    mutating func add(_ connection: ConnectionIndex, _ origin: ConnectionOrigin) {
        origins[connection.offset] = origin
        indices.append(connection)
    }

    mutating func remove(_ connection: ConnectionIndex) {
        origins[connection.offset] = nil
        indices.removeAll { $0 == connection }
    }
}
