import Base
import NVMeSpec
import Synchronization
import TargetTransport

/// Why a controller ended.
enum ControllerEnd: Sendable {
    case adminConnectionLost
    case keepAliveTimeout
    case reset
    case removed
    case namespaceRemoved
    case queueLost
    case replaced
}

/// A dynamic controller: made by the Connect of its admin queue, gone with that queue.
///
/// The admin queue's reactor executes its commands; I/O queues live on all reactors and reach the controller when they
/// connect and disconnect, under its lock. `lastTraffic` alone is touched by all, without a lock.
final class Controller: Sendable {
    struct State {
        var configuration = ControllerConfiguration(rawValue: 0)
        var status = ControllerStatus(rawValue: 0)
        var adminQueue: QueueLocation?
        var ioQueues: [UInt16: QueueLocation] = [:]
        /// I/O queues that Set Features "Number of Queues" granted; 1-based.
        var grantedIOQueues = 0
        var keepAliveMilliseconds: UInt32 = 0
        var asyncEventConfiguration: AsyncEventConfiguration = []
        var events = EventQueue()
        /// Values that Set Features keeps and Get Features returns.
        var features: [FeatureID: UInt32] = [:]
        var errorLog = ErrorLog()
        /// Namespaces that changed since the host last read the log; one more than it can name where there are too many.
        var changedNamespaces: Set<UInt32> = []
        /// Notifications of reservations for the host, oldest first; and the kinds that it does not want, by
        /// namespace.
        var notifications: [ReservationNotificationLog] = []
        var notificationCount: UInt64 = 0
        var masks = ReservationMasks()
        /// By namespace, the last possible loss of its cache that the host has heard of.
        var heardLosses: [UInt32: UInt64] = [:]
        /// CC.EN has been cleared, and the I/O queues' commands are not over: CSTS.RDY is still 1.
        var isResetting = false
        var isEnded = false
        /// It has been reported that its host is there.
        var isReported = false
        /// It has ended, and it has been reported that its commands are waited for.
        var isKnownToDrain = false
        /// Queue pairs, open or closing, that may have commands of this association.
        var busyQueuePairs = 0

        /// It is enabled, and takes commands.
        var isOperational: Bool { configuration.isEnabled && status.isReady }

        /// Ends a reset that has nothing more to wait for: none but the admin queue's queue pair is left.
        mutating func finishReset() {
            guard isResetting, busyQueuePairs <= 1 else { return }
            isResetting = false
            status.isReady = false
        }

        /// By their identifiers, so that a simulation repeats what is done with them.
        var ioQueuesInOrder: [QueueLocation] { ioQueues.sorted { $0.key < $1.key }.map(\.value) }
    }

    let id: UInt16
    let subsystem: Subsystem
    let hostNQN: String
    let host: KnownHost
    /// The port that the host connected to: its listener's address, as discovery names it.
    let localAddress: SocketAddress?
    /// The listener by which the host came, as it is configured; `nil` where that is not known.
    let listener: SocketAddress?
    let state: Mutex<State>
    /// The number that a namespace had taken last when the controller was made: what was lost before, its host never wrote over
    /// it.
    private let lastInstance: UInt64
    /// When the host was last heard of, in nanoseconds of monotonic time.
    let lastTraffic: Atomic<UInt64>

    init(
        id: UInt16, subsystem: Subsystem, hostNQN: String, host: KnownHost, localAddress: SocketAddress?,
        listener: SocketAddress?, keepAliveMilliseconds: UInt32, adminQueue: QueueLocation, lastInstance: UInt64,
        now: MonotonicTime
    ) {
        self.id = id
        self.subsystem = subsystem
        self.hostNQN = hostNQN
        self.host = host
        self.localAddress = localAddress
        self.listener = listener
        self.lastInstance = lastInstance
        var initial = State()
        initial.keepAliveMilliseconds = keepAliveMilliseconds
        initial.adminQueue = adminQueue
        initial.busyQueuePairs = 1
        state = Mutex(initial)
        lastTraffic = Atomic(now.nanoseconds)
    }

    var hostID: UUIDBytes { host.id }

    var isDiscovery: Bool { subsystem.isDiscovery }

    /// When the keep-alive timer runs out; never without one.
    var keepAliveDeadline: MonotonicTime {
        let timeout = state.withLock { $0.keepAliveMilliseconds }
        guard timeout > 0 else { return .distantFuture }
        return MonotonicTime(nanoseconds: lastTraffic.load(ordering: .relaxed))
            .advanced(byMilliseconds: UInt64(timeout))
    }

    /// Whether the host has still to hear of a possible loss of a namespace's cache; it has with this call.
    func hearsOfLoss(_ number: UInt64, of nsid: UInt32) -> Bool {
        guard number > lastInstance else { return false }
        return state.withLock { state in
            guard number > state.heardLosses[nsid] ?? 0 else { return false }
            state.heardLosses[nsid] = number
            return true
        }
    }

    func heard(at now: MonotonicTime) { lastTraffic.store(now.nanoseconds, ordering: .relaxed) }
}

extension Controller {
    /// Marks the controller as ended. Returns its queues, and whether any of its queue pairs may have commands; `nil` where
    /// it has ended already.
    func end() -> (queues: [QueueLocation], isBusy: Bool)? {
        state.withLock { state in
            guard !state.isEnded else { return nil }
            state.isEnded = true
            let queues = state.ioQueuesInOrder + [state.adminQueue].compactMap { $0 }
            state.ioQueues = [:]
            state.adminQueue = nil
            state.events.reset()
            return (queues, state.busyQueuePairs > 0)
        }
    }

    /// A queue pair is closing and its last command is over.
    func releaseQueue() {
        let isOver = state.withLock { state in
            state.busyQueuePairs -= 1
            state.finishReset()
            return state.isEnded && state.busyQueuePairs == 0
        }
        if isOver { subsystem.drained(self) }
    }
}

extension Controller {
    /// Keeps a notification for the host, unless it has masked the kind (NVMe Base, "Reservation Notification").
    func notify(_ kind: ReservationNotificationKind, of namespace: Namespace) {
        state.withLock { state in
            if state.masks.mask(of: namespace.nsid, instance: namespace.instance).isSuperset(of: kind.mask) { return }
            state.notificationCount += 1
            state.notifications.append(
                ReservationNotificationLog(
                    count: state.notificationCount, kind: kind, available: 0, nsid: namespace.nsid))
            // The log keeps as many as its "available" field can count; the oldest give way.
            if state.notifications.count > 255 { state.notifications.removeFirst() }
        }
    }

    /// The oldest notification, taken out of the queue unless `retains`.
    func takeNotification(retains: Bool) -> ReservationNotificationLog {
        state.withLock { state in
            guard var first = state.notifications.first else { return ReservationNotificationLog() }
            first.available = UInt8(clamping: state.notifications.count - 1)
            if !retains { state.notifications.removeFirst() }
            return first
        }
    }
}
