import Base
import Glibc
import Replication

/// One initiator: an engine, its connections, and a host that does I/O.
final class ModelInitiator {
    unowned let simulation: ModelSimulation
    /// Also its host's identity: greater means later.
    let host: Int
    var engine: VolumeEngine
    let arena: UnsafeMutableRawPointer
    let configuration: VolumeConfiguration
    var isAlive = true
    /// The process is stopped and will go on.
    var isPaused = false
    /// Deliveries that wait for a paused process.
    private var deferred: [() -> Void] = []
    var associations: [UInt64?] = [nil, nil, nil]
    private var commands: [[ModelCommand]] = [[], [], []]
    var isServing = false
    var servedAt = UInt64.max
    private var lastInSync = MemberSet.all
    private(set) var notices: [VolumeNotice] = []
    private(set) var attachError: AttachError?
    let workload: ModelWorkload

    init(_ simulation: ModelSimulation, host: Int, _ configuration: VolumeConfiguration, fault: DeliberateFault) {
        self.simulation = simulation
        self.host = host
        self.configuration = configuration
        arena = calloc(1, VolumeEngine.arenaByteCount(configuration))
        engine = VolumeEngine(configuration, arena: arena, rules: Rules(breaking: fault))
        workload = ModelWorkload(simulation, host: host)
        workload.initiator = self
    }

    deinit { free(arena) }

    var now: MonotonicTime { MonotonicTime(nanoseconds: simulation.queue.now + 1) }

    func attach() {
        engine.attach(nonce: UInt32(truncatingIfNeeded: simulation.random.next() | 1), now: now)
        process()
        tick()
    }

    private func tick() {
        guard isAlive else { return }
        deliver {
            self.engine.tick(now: self.now)
            self.workload.submitMore()
        }
        simulation.queue.after(5_000_000) { [weak self] in self?.tick() }
    }

    /// Brings something to the engine, or keeps it while the process is stopped.
    func deliver(_ action: @escaping () -> Void) {
        guard isAlive else { return }
        guard !isPaused else { return deferred.append(action) }
        action()
        process()
    }

    func resume() {
        isPaused = false
        let waiting = deferred
        deferred = []
        for action in waiting { deliver(action) }
    }

    func process() {
        while isAlive {
            let requests = Array(engine.requests)
            engine.removeRequests()
            let completions = Array(engine.completions)
            engine.removeCompletions()
            let actions = engine.takeActions()
            if servedAt != .max || isServing, simulation.serving === self {
                let inSync = engine.membersInSync
                simulation.oracle.left(lastInSync.subtracting(inSync))
                lastInSync = inSync
            }
            if requests.isEmpty, completions.isEmpty, actions.isEmpty { return }
            for request in requests { send(request) }
            for action in actions { perform(action) }
            for completion in completions { workload.completed(completion) }
        }
    }

    func submit(_ request: HostRequest) -> Bool { engine.submit(request, now: now) }

    // MARK: The connections

    private func send(_ request: MemberRequest) {
        let member = request.member
        simulation.note(request.tag ^ request.start &* 31 ^ UInt64(request.operation.rawValue))
        simulation.trace {
            "h\(self.host) -> m\(member) \(request.operation) \(request.start)+\(request.count) fua=\(request.forceUnitAccess) tag=\(String(request.tag, radix: 16))"
        }
        // A connection that has just broken ends what is sent on it when the engine is told.
        let command = ModelCommand(request, self, associations[member] ?? 0)
        commands[member].append(command)
        if associations[member] != nil { simulation.submit(command) }
    }

    func memory(_ request: MemberRequest) -> UnsafeMutableRawPointer? {
        switch request.bufferOwner {
        case .none: nil
        case .arena: arena + Int(request.bufferValue)
        case .host: workload.buffer(request.bufferValue)
        }
    }

    private func complete(_ member: MemberIndex, _ completions: [MemberCompletion]) {
        completions.withUnsafeBufferPointer { engine.complete($0, now: now) }
    }

    /// A target's answer has arrived.
    func answered(_ command: ModelCommand, _ status: MemberStatus, data: [UInt8]?) {
        let member = command.request.member
        guard isAlive, associations[member] == command.association else { return }
        deliver { [self] in
            guard associations[member] == command.association,
                let index = commands[member].firstIndex(where: { $0 === command })
            else { return }
            commands[member].remove(at: index)
            if let data, let memory = memory(command.request) { memcpy(memory, data, data.count) }
            simulation.trace {
                "h\(self.host) <- m\(member) \(command.request.operation) \(command.request.start)+\(command.request.count) \(status) tag=\(String(command.request.tag, radix: 16))"
            }
            complete(member, [MemberCompletion(tag: command.request.tag, status: status)])
        }
    }

    func usesBuffer(_ buffer: UInt64) -> Bool {
        commands.contains { $0.contains { $0.request.bufferOwner == .host && $0.request.bufferValue == buffer } }
    }

    /// The queue pair goes into error: all commands end without an outcome, then the engine is told.
    func breakConnection(_ member: MemberIndex, after delay: UInt64) {
        guard isAlive, associations[member] != nil else { return }
        let association = associations[member]
        simulation.queue.after(delay) { [self] in
            guard isAlive, associations[member] == association else { return }
            associations[member] = nil
            deliver { [self] in
                process()
                while !commands[member].isEmpty {
                    let pending = commands[member]
                    commands[member] = []
                    complete(member, pending.map { MemberCompletion(tag: $0.request.tag, status: .unknown) })
                    process()
                }
                engine.handle(.disconnected(member), now: now)
            }
        }
    }

    private func perform(_ action: VolumeAction) {
        simulation.trace { "h\(self.host) action \(action)" }
        switch action {
        case .connect(let member): simulation.connect(self, member)
        case .disconnect(let member):
            // If the connection has ended by itself already, the engine has been told, or is about to be.
            breakConnection(member, after: 50_000)
        case .reservation(let member, let command): simulation.reserve(self, member, command)
        case .phaseChanged(let phase):
            isServing = phase == .serving
            if phase == .serving, servedAt == .max {
                servedAt = simulation.queue.now
                simulation.served(by: self)
            }
            if phase == .deposed || phase == .detached { simulation.ended(self, phase) }
        case .notice(let notice):
            notices.append(notice)
            simulation.noticed(self, notice)
        case .attachFailed(let error):
            attachError = error
            simulation.trace { "attach failed: \(error)" }
            simulation.attachFailed(self, error)
        }
    }

    func handle(_ event: MemberEvent) {
        deliver {
            self.simulation.trace { "h\(self.host) event \(event)" }
            self.engine.handle(event, now: self.now)
        }
    }
}
