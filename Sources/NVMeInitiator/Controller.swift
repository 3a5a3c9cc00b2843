import Base
import NVMeSpec
import Reactor
import Synchronization

/// The life of a controller, seen from the host.
enum ControllerState: UInt8, Sendable {
    case idle
    case connecting
    case live
    case reconnecting
    case lost
    case closed

    /// The one place where a controller changes its state.
    mutating func move(to next: ControllerState) {
        switch (self, next) {
        case (.idle, .connecting), (.connecting, .live), (.connecting, .idle), (.connecting, .reconnecting),
            (.live, .reconnecting), (.reconnecting, .connecting), (.connecting, .lost), (.reconnecting, .lost),
            (.idle, .closed), (.live, .closed), (.reconnecting, .closed), (.connecting, .closed), (.lost, .closed):
            self = next
        default: invariantViolated("a controller makes only the listed transitions")
        }
    }
}

/// One controller of an NVM subsystem: an admin queue on its home group, and one I/O queue on each group it was given.
///
/// The `async` calls may be used from anywhere. Commands of the control plane run on the home group's thread; a lost
/// association is rebuilt there, as `ControllerOptions` says, until `close`.
public final class Controller: @unchecked Sendable {
    // Unchecked: the home group's thread alone uses what changes.
    public let options: ControllerOptions
    /// The group whose thread has the admin queue and delivers events.
    public let home: InitiatorGroup
    /// I/O queues, in the order of the groups. A controller that grants fewer leaves the last ones without connection.
    public let queues: [IOQueue]
    let admin: IOQueue
    private let observer: @Sendable (ControllerEvent) -> Void

    // The home group's thread owns these.
    var state = ControllerState.idle
    var number: UInt64 = 0
    private var failureReason: String?
    private var failureWaiter: CheckedContinuation<Void, Never>?
    private var closeWaiters: [CheckedContinuation<Void, Never>] = []
    private var isClosing = false
    private var backOff: SleepToken?
    /// Raised each time the association is lost.
    private(set) var outage: UInt64 = 0
    /// The answers of the association in the making, so far.
    var identify = IdentifyController()
    var commandSetLimits = IdentifyNVMController()
    var capabilities = ControllerCapabilities(rawValue: 0)
    var connectedQueues = 0
    /// The part of namespaces that stays the same, by identifier.
    var places: [UInt32: NamespacePlace] = [:]
    /// Namespaces are being read; others who want that wait.
    var isScanning = false
    var scanWaiters: [CheckedContinuation<Void, Never>] = []

    private struct Published {
        var association: Association?
        var namespaces: [NamespaceDescription] = []
    }
    private let published = Mutex(Published())

    /// - Parameters:
    ///   - groups: one I/O queue is made in each; a group may be named more than once. Empty for a discovery controller.
    ///   - observer: called on the home group's thread.
    public init(
        _ options: ControllerOptions, home: InitiatorGroup, groups: [InitiatorGroup],
        observer: @escaping @Sendable (ControllerEvent) -> Void = { _ in }
    ) {
        self.options = options
        self.home = home
        self.observer = observer
        admin = IOQueue(group: home, operations: Limits.adminEntries * 2, namespaces: 0)
        queues = groups.map { group in
            IOQueue(group: group, operations: options.operationsPerQueue, namespaces: Limits.namespaces)
        }
        for queue in queues { queue.keepsOperations = options.recovery == .repeat }
    }

    // MARK: What is known

    /// The association, while there is one.
    public var association: Association? { published.withLock { $0.association } }

    /// The active namespaces, as last read, in the order of their identifiers.
    public var namespaces: [NamespaceDescription] { published.withLock { $0.namespaces } }

    func publish(_ namespaces: [NamespaceDescription]) { published.withLock { $0.namespaces = namespaces } }

    func notify(_ event: ControllerEvent) { observer(event) }

    // MARK: Life

    /// Connects and brings the controller up. Throws when the first attempt fails; from then on connections that are lost
    /// are made again.
    public func connect() async throws(InitiatorError) {
        try await onHome { () async throws(InitiatorError) in
            guard self.state == .idle, !self.isClosing else { throw .closed }
            self.home.add(self.admin)
            for queue in self.queues {
                await queue.group.onExecutor { queue.group.add(queue) }
            }
            do throws(InitiatorError) { try await self.establish() } catch {
                self.state.move(to: .idle)
                await self.detachQueues()
                self.resumeCloseWaiters()
                throw error
            }
            Task(executorPreference: self.home.executor) { await self.supervise() }
        }
    }

    /// Shuts the controller down where it is connected, ends all operations and waits until no device reaches their
    /// memory. Returns at once the second time.
    public func close() async {
        await home.onExecutor {
            if self.isClosing || self.state == .idle || self.state == .closed { return }
            self.isClosing = true
            self.backOff?.cancel()
            await withCheckedContinuation { continuation in
                self.closeWaiters.append(continuation)
                self.failed("closed", association: self.number)
            }
        }
    }

    /// Runs a control call on the home group's thread.
    func onHome<Result: Sendable>(
        _ body: @Sendable () async throws(InitiatorError) -> Result
    ) async throws(InitiatorError) -> Result {
        try await withTaskExecutorPreference(home.executor, operation: body)
    }

    /// A queue of the association has failed; or the association has to end. On the home group's thread.
    func failed(_ reason: String, association: UInt64) {
        guard association == number, failureReason == nil else { return }
        failureReason = reason
        failureWaiter?.resume()
        failureWaiter = nil
    }

    /// One attempt: all queues, or none and an error.
    private func establish() async throws(InitiatorError) {
        state.move(to: .connecting)
        number += 1
        failureReason = nil
        do throws(InitiatorError) {
            try await bringUp()
            if let failureReason { throw .connectionLost(failureReason) }
        } catch {
            await tearDown("the association could not be made")
            throw error
        }
        state.move(to: .live)
        let association = Association(
            number: number, controllerID: identify.controllerID, queueCount: connectedQueues, identify: identify,
            capabilities: capabilities, version: identify.version)
        published.withLock { $0.association = association }
        notify(.connected(association))
        watch(number)
    }

    /// Waits for the end of each association and makes the next one.
    private func supervise() async {
        while true {
            if failureReason == nil { await withCheckedContinuation { failureWaiter = $0 } }
            let reason = failureReason ?? "unknown"
            if isClosing {
                await shutDown()
                return await finishClosing()
            }
            state.move(to: .reconnecting)
            await tearDown(reason)
            let ended = published.withLock { state in
                defer { state.association = nil }
                return state.association
            }
            if let ended { notify(.disconnected(ended, reason: reason)) }
            guard await reconnect() else { return await finishClosing() }
        }
    }

    /// Tries until it works, until it never will, or until the controller is closed; `false` unless it worked.
    private func reconnect() async -> Bool {
        let since = home.now
        outage += 1
        let outage = outage
        var delay = options.reconnectDelayMilliseconds.lowerBound
        Task(executorPreference: home.executor) { await self.failFast(outage, since: since) }
        while !isClosing {
            let token = SleepToken(home)
            backOff = token
            await home.sleep(until: home.now.advanced(byMilliseconds: delay), token)
            backOff = nil
            if isClosing { break }
            do throws(InitiatorError) {
                try await establish()
                return true
            } catch {
                delay = min(delay * 2, options.reconnectDelayMilliseconds.upperBound)
                let lostFor = home.now.nanoseconds(since: since) / 1_000_000
                if error.isPermanent || lostFor >= options.controllerLossMilliseconds {
                    state.move(to: .lost)
                    await failWaiting(.connectionLost)
                    notify(.lost(error))
                    return await waitForClose()
                }
                state.move(to: .reconnecting)
                notify(.reconnectFailed(error, nextDelayMilliseconds: delay))
            }
        }
        return false
    }

    private func waitForClose() async -> Bool {
        failureReason = nil
        if !isClosing { await withCheckedContinuation { failureWaiter = $0 } }
        return false
    }

    /// Fails what waits when the connection has been away for too long.
    private func failFast(_ outage: UInt64, since: MonotonicTime) async {
        guard options.recovery == .repeat else { return }
        await home.sleep(until: since.advanced(byMilliseconds: options.fastIOFailMilliseconds))
        guard self.outage == outage, association == nil, !isClosing, state != .lost else { return }
        await failWaiting(.connectionLost)
        notify(.failingFast)
    }

    private func failWaiting(_ failure: IOFailure) async {
        for queue in queues { await queue.group.onExecutor { queue.engine.stopWaiting(failure) } }
    }

    private func tearDown(_ reason: String) async {
        for queue in queues { await queue.group.onExecutor { await queue.close(reason) } }
        await admin.close(reason)
        admin.engine.refuseOperations()
    }

    private func finishClosing() async {
        for queue in queues {
            await queue.group.onExecutor {
                queue.keepsOperations = false
                queue.endFailure = .closed
            }
        }
        await tearDown("closed")
        await failWaiting(.closed)
        published.withLock { $0.association = nil }
        state.move(to: .closed)
        await detachQueues()
        resumeCloseWaiters()
        notify(.closed)
    }

    private func resumeCloseWaiters() {
        for waiter in closeWaiters { waiter.resume() }
        closeWaiters = []
    }

    private func detachQueues() async {
        for queue in queues { await queue.group.onExecutor { queue.group.remove(queue) } }
        home.remove(admin)
    }
}
