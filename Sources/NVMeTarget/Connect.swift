import Base
import NVMeSpec
import Synchronization
import TargetInterface
import TargetTransport

/// The Connect command, with all its refusals (NVMe-oF 1.1, "Connect Command and Response").
struct ConnectCommands {
    let target: Target
    let group: Int
    let held: HeldRequests
    let views: SubsystemViews

    /// The outcome of a Connect.
    enum Outcome {
        /// The queue is the controller's.
        case connected(Controller, SubsystemView?, HostKeys.Demand)
        /// It waits for the end of the host's former associations, or until this reactor has opened the namespaces.
        case held
        /// Refused, with the names that the host gave, for the operator: a host that does not come is looked for in the log.
        case refusedBecause(ConnectRefusal, host: String, subsystem: String)
    }

    func connect(_ connect: ConnectCommand, _ request: RequestReference, now: MonotonicTime) -> Outcome {
        if let refusal = refusal(of: connect, bytes: request.data.count) {
            return .refusedBecause(refusal, host: "unknown", subsystem: "unknown")
        }
        let bytes = UnsafeRawBufferPointer(rebasing: request.data[..<ConnectData.byteCount])
        let data: ConnectData
        do throws(ConnectFailure) { data = try ConnectData(decoding: bytes) } catch {
            let names = ConnectData.names(in: bytes)
            return .refusedBecause(
                ConnectRefusal(error.forGood, "\(error)"), host: names.host, subsystem: names.subsystem)
        }
        do throws(ConnectRefusal) {
            let queue = request.queue
            guard connect.queueID == queue.queueID else {
                throw .wrong(
                    inCommand: ConnectCommand.Offset.queueID,
                    "queue \(connect.queueID) is not queue \(queue.queueID), as the connection request said")
            }
            guard connect.sqSize > 0, UInt32(connect.sqSize) < queue.entries else {
                throw .wrong(
                    inCommand: ConnectCommand.Offset.sqSize,
                    "\(UInt32(connect.sqSize) + 1) entries, where the connection has \(queue.entries)")
            }
            guard let subsystem = target.subsystem(data.subsystemNQN) else {
                throw .missing(inData: ConnectData.Offset.subsystemNQN, "there is no such subsystem")
            }
            guard subsystem.allows(host: data.hostNQN) else {
                throw ConnectRefusal(
                    ConnectFailure(status: .connectInvalidHost), "the host is not on the subsystem's list")
            }
            let demand = subsystem.demand(on: data.hostNQN, now: now)
            if case .missing = demand {
                throw ConnectRefusal(
                    ConnectFailure(status: .connectInvalidHost),
                    "the subsystem wants its hosts to authenticate, and there is no key of this host")
            }
            let asked = AskedQueue(connect: connect, data: data, subsystem: subsystem, demand: demand)
            return try connect.queueID == 0 ? connectAdmin(asked, request, now: now) : connectIO(asked, request)
        } catch {
            return .refusedBecause(error, host: data.hostNQN, subsystem: data.subsystemNQN)
        }
    }

    /// The reason why a Connect is refused whose data is not looked at.
    private func refusal(of connect: ConnectCommand, bytes: Int) -> ConnectRefusal? {
        if connect.recordFormat != 0 {
            return ConnectRefusal(
                ConnectFailure(status: .connectIncompatibleFormat),
                "its Connect command has record format \(connect.recordFormat), and 0 is the only one there is")
        }
        guard bytes < ConnectData.byteCount else { return nil }
        return ConnectRefusal(
            ConnectFailure(status: .dataSGLLengthInvalid),
            "its Connect command brings \(bytes) bytes of data, where there must be \(ConnectData.byteCount)")
    }

    /// A queue that a host asks for.
    private struct AskedQueue {
        let connect: ConnectCommand
        let data: ConnectData
        let subsystem: Subsystem
        let demand: HostKeys.Demand
    }

    private func connectAdmin(
        _ asked: AskedQueue, _ request: RequestReference, now: MonotonicTime
    ) throws(ConnectRefusal) -> Outcome {
        let (connect, data, subsystem) = (asked.connect, asked.data, asked.subsystem)
        // Only the dynamic controller model is offered: CNTLID must be FFFFh.
        guard data.controllerID == ConnectData.anyController else {
            throw .wrong(
                inData: ConnectData.Offset.controllerID,
                "controller \(data.controllerID) was asked for; controllers are dynamic, so that it must be FFFFh")
        }
        let location = request.queue.location(in: group)
        // NVMe Base, "Generic Command Status Values", 1Ah: too large. One that was granted less would ping too seldom.
        guard connect.keepAliveMilliseconds <= target.options.maxKeepAliveMilliseconds else {
            throw ConnectRefusal(
                ConnectFailure(status: .keepAliveTimeoutInvalid),
                "a keep-alive timeout of \(connect.keepAliveMilliseconds) ms; at most "
                    + "\(target.options.maxKeepAliveMilliseconds) ms are granted")
        }
        // A command of an association that has ended may still be at a block device. The host takes it for failed, and may
        // write the same blocks over the new association: that waits until the old command has landed.
        let former = DrainScope.host(nqn: data.hostNQN, id: data.hostID)
        if held.hold(request, until: former, of: subsystem, connect: (data.hostNQN, request.queue.peer), now: now) {
            return .held
        }
        var keepAlive = connect.keepAliveMilliseconds
        // A discovery controller without a keep-alive timeout ends after two minutes of silence.
        if subsystem.isDiscovery && keepAlive == 0 { keepAlive = 120_000 }
        let address = request.queue.localAddress
        let controller = subsystem.addController(of: data.hostID) { id, host in
            Controller(
                id: id, subsystem: subsystem, hostNQN: data.hostNQN, host: host, localAddress: address,
                listener: target.listener(at: address), keepAliveMilliseconds: keepAlive, adminQueue: location,
                lastInstance: target.lastInstance, now: now)
        }
        guard let controller else {
            throw ConnectRefusal(
                ConnectFailure(status: .connectControllerBusy), "the subsystem has no room for another controller")
        }
        return .connected(controller, nil, asked.demand)
    }

    private func connectIO(_ asked: AskedQueue, _ request: RequestReference) throws(ConnectRefusal) -> Outcome {
        let (connect, data, subsystem) = (asked.connect, asked.data, asked.subsystem)
        guard !subsystem.isDiscovery else {
            throw .wrong(inCommand: ConnectCommand.Offset.queueID, "the discovery controller has no I/O queues")
        }
        guard let controller = subsystem.controller(data.controllerID) else {
            throw .missing(
                inData: ConnectData.Offset.controllerID, "there is no controller \(data.controllerID) (any more)")
        }
        guard controller.hostNQN == data.hostNQN else {
            throw .wrong(
                inData: ConnectData.Offset.hostNQN, "controller \(controller.id) is of host \(controller.hostNQN)")
        }
        guard controller.hostID == data.hostID else {
            throw .wrong(
                inData: ConnectData.Offset.hostID, "controller \(controller.id) is of another host identifier")
        }
        let location = request.queue.location(in: group)
        // A subsystem may have more namespaces than are looked at in one round.
        let view = views.view(of: subsystem)
        guard view.isComplete else {
            request.hold()
            view.keep(RequestTicket(queue: location, request: request.index))
            return .held
        }
        let refusal: ConnectRefusal? = controller.state.withLock { state in
            guard state.isOperational, !state.isEnded else {
                return .outOfSequence("controller \(controller.id) is not enabled, or has ended")
            }
            guard Int(connect.queueID) <= state.grantedIOQueues else {
                return .missing(
                    inCommand: ConnectCommand.Offset.queueID,
                    "queue \(connect.queueID), where \(state.grantedIOQueues) have been granted")
            }
            guard state.ioQueues[connect.queueID] == nil else {
                return .outOfSequence("controller \(controller.id) has a queue \(connect.queueID)")
            }
            state.ioQueues[connect.queueID] = location
            state.busyQueuePairs += 1
            return nil
        }
        if let refusal { throw refusal }
        return .connected(controller, view, asked.demand)
    }
}

/// The reason for the refusal of a Connect: for the host, and in words for the operator.
struct ConnectRefusal: Error {
    let failure: ConnectFailure
    let reason: String

    init(_ failure: ConnectFailure, _ reason: String) {
        self.failure = failure
        self.reason = reason
    }

    /// The command contradicts itself, or what the host has said before: it would fail again.
    static func wrong(inData offset: UInt16, _ reason: String) -> ConnectRefusal {
        ConnectRefusal(ConnectFailure.invalidParameter(inData: offset).forGood, reason)
    }

    static func wrong(inCommand offset: UInt16, _ reason: String) -> ConnectRefusal {
        ConnectRefusal(ConnectFailure.invalidParameter(inCommand: offset).forGood, reason)
    }

    /// It names what is not there now, and may be another time.
    static func missing(inData offset: UInt16, _ reason: String) -> ConnectRefusal {
        ConnectRefusal(.invalidParameter(inData: offset), reason)
    }

    static func missing(inCommand offset: UInt16, _ reason: String) -> ConnectRefusal {
        ConnectRefusal(.invalidParameter(inCommand: offset), reason)
    }

    static func outOfSequence(_ reason: String) -> ConnectRefusal {
        ConnectRefusal(ConnectFailure(status: .commandSequenceError), reason)
    }
}
