import Base
import NVMeAuthentication
import NVMeSpec
import TargetInterface
import TargetTransport

/// Authentication Send and Authentication Receive (NVMe Base): the exchanges of a poll group's queues.
///
/// A reactor only moves messages. Arithmetic takes milliseconds, and is done where the process has a thread for it; a queue has one
/// such work at a time.
final class QueueAuthentication {
    /// An exchange of a queue.
    private struct Running {
        var exchange: ControllerExchange
        let controller: Controller
        /// The end of the time for its next step; then the queue is closed.
        var deadline: MonotonicTime
        /// Tells a result for this exchange from one for an earlier one.
        let number: UInt64
        /// An Authentication Receive that waits for work.
        var waiting: RequestTicket?
        /// It has failed, and been reported.
        var hasFailed = false
    }

    private let target: Target
    private let engines: EngineTable
    private var exchanges: [QueueLocation: Running] = [:]
    private var lastNumber: UInt64 = 0

    init(_ target: Target, _ engines: EngineTable) {
        self.target = target
        self.engines = engines
    }

    /// A queue has been connected on which the host has to show who it is.
    func begin(
        _ peer: ControllerExchange.Peer, _ request: RequestReference, _ controller: Controller, now: MonotonicTime
    ) {
        lastNumber += 1
        exchanges[request.queue.location(in: engines.group)] = Running(
            exchange: ControllerExchange(peer), controller: controller,
            deadline: now.advanced(byMilliseconds: Limits.authenticationMilliseconds), number: lastNumber)
    }

    /// A message of the host.
    func send(_ command: AuthenticationCommand, _ request: ControlRequest) -> ControlReply {
        let data = request.reference.data
        let length = Int(command.length)
        guard command.isOfNVMe, length > 0, length <= AuthenticationFrame.maxByteCount else {
            return .refused(.invalidField)
        }
        guard data.count >= length else { return .refused(.dataSGLLengthInvalid) }
        let queue = request.reference.queue.location(in: engines.group)
        guard beginAgain(queue, request) else { return .refused(.invalidOpcode) }
        extend(queue, now: request.now)
        let step = exchanges[queue]?.exchange.received(UnsafeRawBufferPointer(rebasing: data[..<length]))
        if let step { follow(step, of: queue, now: request.now) }
        return .done
    }

    /// A queue on which nothing is under way begins anew, with the keys of now; `false` if its host has no keys.
    private func beginAgain(_ queue: QueueLocation, _ request: ControlRequest) -> Bool {
        if exchanges[queue] != nil { return true }
        let controller = request.controller
        guard case .keys(let peer) = controller.subsystem.demand(on: controller.hostNQN, now: request.now) else {
            return false
        }
        begin(peer, request.reference, controller, now: request.now)
        return true
    }

    /// The host asks for a message.
    func receive(_ command: AuthenticationCommand, _ request: ControlRequest) -> ControlReply {
        guard command.isOfNVMe, command.length > 0 else { return .refused(.invalidField) }
        let queue = request.reference.queue.location(in: engines.group)
        guard let running = exchanges[queue], running.waiting == nil else { return .refused(.commandSequenceError) }
        guard running.exchange.isComputing else {
            return message(for: command, of: queue, now: request.now)
        }
        exchanges[queue]?.waiting = engines.ticket(of: request.reference)
        request.reference.hold()
        // It waits for a thread that others have to wait for too: the capsule's buffer is for others meanwhile.
        request.reference.setAside()
        return .later
    }

    /// The exchange has made progress: there are few steps, and each has its time, whoever took it.
    private func extend(_ queue: QueueLocation, now: MonotonicTime) {
        guard exchanges[queue]?.hasFailed == false else { return }
        exchanges[queue]?.deadline = now.advanced(byMilliseconds: Limits.authenticationMilliseconds)
    }

    private func message(
        for command: AuthenticationCommand, of queue: QueueLocation, now: MonotonicTime
    ) -> ControlReply {
        guard let message = exchanges[queue]?.exchange.message else { return .refused(.commandSequenceError) }
        // More than a message is never needed; what follows it is zeroes.
        let length = min(Int(command.length), AuthenticationFrame.maxByteCount)
        guard length >= message.count else { return .refused(.invalidField) }
        if let step = exchanges[queue]?.exchange.sent() { follow(step, of: queue, now: now) }
        return .page(DataPage(message), offset: 0, length: length)
    }

    /// Work is done. Returns a request that waited for it, with its reply.
    func computed(
        _ result: WorkResult, for queue: QueueLocation, number: UInt64, now: MonotonicTime
    ) -> (RequestReference, ControlReply)? {
        guard exchanges[queue]?.number == number else { return nil }
        exchanges[queue]?.exchange.computed(result)
        extend(queue, now: now)
        guard let ticket = exchanges[queue]?.waiting else { return nil }
        exchanges[queue]?.waiting = nil
        guard let request = engines.request(of: ticket),
            case .fabrics(.authenticationReceive(let command)) = request.command
        else { return nil }
        return (request, message(for: command, of: queue, now: now))
    }

    private func follow(_ step: ControllerExchange.Step, of queue: QueueLocation, now: MonotonicTime) {
        guard let running = exchanges[queue] else { return }
        switch step {
        case .answer: break
        case .compute(let work):
            let (here, number) = (target.group(engines.group), running.number)
            target.surroundings.compute {
                let result = work.run()
                here.send { $0.authenticationComputed(result, for: queue, number: number) }
            }
        case .authenticated:
            exchanges[queue] = nil
            guard let reference = engines.queue(at: queue) else { return }
            let isFirst = reference.role == .authenticating
            reference.authenticated()
            if isFirst, reference.role == .admin { target.connected(running.controller, peer: reference.peer) }
        case .failed(let failure):
            fail(queue, failure.text)
            // The host hears of it before the queue is closed.
            exchanges[queue]?.deadline = now.advanced(byMilliseconds: Limits.authenticationFailureMilliseconds)
        }
    }

    private func fail(_ queue: QueueLocation, _ reason: String) {
        guard let running = exchanges[queue], !running.hasFailed, let reference = engines.queue(at: queue) else {
            return
        }
        exchanges[queue]?.hasFailed = true
        // Nothing more is done for a host that was known and has not shown anew who it is.
        reference.distrust()
        target.observe(
            .authenticationFailed(
                host: running.controller.hostNQN, subsystem: running.controller.subsystem.nqn, peer: reference.peer,
                reason: reason))
    }

    /// Queues whose hosts have not come to an end in time, or have failed: they are to be closed.
    func overdue(_ now: MonotonicTime) -> [QueueReference] {
        var overdue: [QueueReference] = []
        // A host that is still to show who it is sends no keep-alive, and may compute for long: the time for each step counts.
        for (queue, running) in exchanges
        where !running.hasFailed && engines.queue(at: queue)?.role == .authenticating {
            running.controller.heard(at: now)
        }
        for (queue, running) in exchanges where now >= running.deadline {
            fail(queue, "nothing has come of it within \(Limits.authenticationMilliseconds / 1000) s")
            if let reference = engines.queue(at: queue) { overdue.append(reference) }
        }
        return overdue
    }

    /// A queue is closing.
    func forget(_ queue: QueueLocation) { exchanges[queue] = nil }
}

extension AuthenticationCommand {
    /// It carries a message of NVMe's own in-band authentication.
    fileprivate var isOfNVMe: Bool {
        securityProtocol == AuthenticationCommand.nvmeSecurityProtocol && specific0 == 1 && specific1 == 1
    }
}
