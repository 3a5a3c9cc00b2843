import Base
import InitiatorTransport
import NVMeSpec

/// One I/O queue of a controller, on one reactor.
///
/// `submit` and the completion sink belong to the reactor's thread; the `async` calls may be used from anywhere. The queue
/// outlives connections: what happens to its operations when one is lost, `ControllerOptions.recovery` says.
public final class IOQueue: @unchecked Sendable {
    // Unchecked: the reactor's thread alone uses what changes; `async` calls hand their work to it.
    /// The reactor's group that this queue belongs to.
    public let group: InitiatorGroup
    /// Takes the completions of `submit`.
    public var sink: CompletionSink?
    /// Its engine decides what becomes of operations. On the group's thread.
    var engine: QueueEngine
    /// The connection, while there is one.
    var connection: HostConnectionIndex?
    /// QID of the connection.
    var queueID: UInt16 = 0
    /// While the connection is being ended.
    var closing: Task<Void, Never>?
    /// Why the connection broke before `open` knew of it.
    var earlyFailure: String?
    /// Why the connection was lost, for errors.
    var lossReason = "there is no connection"
    /// Operations wait for the next connection when this one is lost.
    var keepsOperations = false
    /// The failure of operations that end with the connection.
    var endFailure = IOFailure.connectionLost
    /// The device of the last connection that was good for I/O: what the operations' memory is made known to.
    private var lastDevice: TransportDevice?
    private var waiters: [UInt64: Waiter] = [:]
    private var nextWaiter: UInt64 = 0

    private struct Waiter {
        var tag: UInt64
        var continuation: CheckedContinuation<IOCompletion, Never>
    }

    init(group: InitiatorGroup, operations: Int, namespaces: Int) {
        self.group = group
        engine = QueueEngine(operations: max(operations, 1), namespaces: namespaces)
    }

    // MARK: Submission

    /// Accepts an operation; its completion goes to `sink`. Allocates nothing and makes no system call: its commands leave
    /// with the group's next poll, all at once.
    public func submit(_ operation: IOOperation) -> SubmitResult {
        engine.accept(operation, tag: operation.tag, isAwaited: false, now: group.now)
    }

    /// Operations that have been accepted and have not completed.
    public var operationsInUse: Int { engine.operations.inUse }

    /// Whether commands can leave now.
    public var isLive: Bool { engine.isLive }

    /// The device that this queue's connection uses, to make memory known to; `nil` without a connection. On the reactor's
    /// thread.
    public var device: TransportDevice? { connection.flatMap { group.transport.device(of: $0) } }

    /// Asks the device of this queue's connection, on the reactor's thread; `nil` without a connection. May be called from
    /// anywhere.
    public func withDevice<Answer: Sendable>(_ body: @escaping @Sendable (TransportDevice) -> Answer) async -> Answer? {
        await group.run { self.device.map(body) }
    }

    /// A number for the device that operations' memory must be known to: that of the connection, or of the last one while
    /// there is none; `nil` before the first one. On the reactor's thread.
    public var deviceNumber: Int? { lastDevice?.number }

    /// Does an operation and waits for its end. May be called from anywhere. For the control plane: `submit` costs a
    /// hundredth of it.
    public func perform(_ operation: IOOperation) async -> IOCompletion {
        await withTaskExecutorPreference(group.executor) {
            await withCheckedContinuation { continuation in
                let waiter = self.addWaiter(operation.tag, continuation)
                let failure: IOFailure
                switch self.engine.accept(operation, tag: waiter, isAwaited: true, now: self.group.now) {
                case .accepted: return
                case .full: failure = .full
                case .notConnected: failure = .notConnected
                case .invalid: failure = .invalid
                case .unsupported: failure = .unsupported
                }
                self.waiters[waiter] = nil
                continuation.resume(returning: IOCompletion(refused: operation.tag, failure))
            }
        }
    }

    /// Sends one command as it is and waits for its end. On the group's thread.
    ///
    /// - Parameters:
    ///   - timeoutMilliseconds: 0 for no limit.
    ///   - atOnce: past everything that waits, also before the queue is live: Connect.
    func send(
        _ command: SubmissionEntry, data: IOSegment?, timeoutMilliseconds: UInt32, atOnce: Bool = false
    ) async -> IOCompletion {
        await withCheckedContinuation { continuation in
            let mayLeave = atOnce ? connection != nil : engine.isOpen
            let waiter = addWaiter(0, continuation)
            guard mayLeave,
                let index = engine.accept(
                    command, data: data, tag: waiter, timeoutMilliseconds: timeoutMilliseconds, now: group.now)
            else {
                waiters[waiter] = nil
                continuation.resume(returning: IOCompletion(refused: 0, engine.isOpen ? .full : .notConnected))
                return
            }
            if atOnce { group.issueAtOnce(index, of: self) } else { engine.operations.append(index) }
        }
    }

    private func addWaiter(_ tag: UInt64, _ continuation: CheckedContinuation<IOCompletion, Never>) -> UInt64 {
        nextWaiter += 1
        waiters[nextWaiter] = Waiter(tag: tag, continuation: continuation)
        return nextWaiter
    }

    // MARK: Rounds

    /// Delivers the completions of this round; returns how many.
    func deliver() -> Int {
        let completed = engine.operations.takeCompleted()
        // The sink submits new operations; none completes before the next round, so the memory stays as it is.
        if completed.count > 0 { sink?.completed(completed) }
        let awaited = engine.operations.takeAwaited()
        for completion in awaited {
            guard let waiter = waiters.removeValue(forKey: completion.tag) else {
                invariantViolated("an awaited operation has a waiter")
            }
            var completion = completion
            completion.tag = waiter.tag
            waiter.continuation.resume(returning: completion)
        }
        return completed.count + awaited.count
    }

    // MARK: Connections

    /// The queue has a connection whose Connect was answered: what waits may leave.
    func activate(_ terms: QueueTerms) {
        guard let device else { return }
        // Another device: the keys of what waits mean nothing to it.
        if let lastDevice, lastDevice.domain != device.domain { engine.failAll(.connectionLost) }
        lastDevice = device
        engine.activate(terms)
    }
}

extension IOCompletion {
    /// An operation that was not accepted.
    init(refused tag: UInt64, _ failure: IOFailure) {
        self.init(tag: tag, outcome: .surelyNotDone, failure: failure, status: .success, result: 0)
    }
}
