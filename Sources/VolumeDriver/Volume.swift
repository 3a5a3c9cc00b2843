import Base
import FabricInterface
import Memory
import NVMeInitiator
import NVMeSpec
import Reactor
import Replication

/// A volume on three members: joins the pure replication engine to three controllers of the initiator.
///
/// A poller of the reactor that runs its initiator group, added behind it: in each round the group's completions reach the
/// engine, and what the engine asks for leaves at once. All but `init` belongs to that thread.
public final class Volume: Poller, @unchecked Sendable {
    let group: InitiatorGroup
    let options: VolumeOptions
    /// Buffers for I/O, where the user brings no memory along.
    public let memory: VolumeMemory
    let hostMemory: HostMemory
    /// Takes the completions of `submit`.
    public var sink: VolumeSink?
    private let observer: @Sendable (VolumeEvent) -> Void
    package var engine: VolumeEngine
    private(set) var links: [MemberLink] = []
    /// The same, for each round: counting references would cost more than the look.
    private let looks: [Unmanaged<MemberLink>]
    private let inbox: CompletionInbox
    /// Commands that a member's queue had no room for, oldest first.
    private var backlog: [MemberRequest] = []
    private var nextTick = MonotonicTime(nanoseconds: 0)
    /// The time of the round that is running.
    private(set) var now = MonotonicTime(nanoseconds: 0)
    /// I/Os of the `async` calls, by cookie.
    var waiters: [UInt64: CheckedContinuation<HostStatus, Never>] = [:]
    var nextWaiter: UInt64 = Volume.firstWaiter

    /// Cookies from here on are those of the `async` calls; `submit` takes smaller ones.
    static let firstWaiter: UInt64 = 1 << 63

    /// - Parameters:
    ///   - hostMemory: what `HostRequest.buffer` names; `nil` for addresses of buffers that `memory` gives out.
    ///   - observer: called on the group's thread.
    public convenience init(
        _ options: VolumeOptions, group: InitiatorGroup, hostMemory: HostMemory? = nil,
        observer: @escaping @Sendable (VolumeEvent) -> Void = { _ in }
    ) throws(MemoryError) {
        try self.init(options, group: group, hostMemory: hostMemory, rules: Rules(), observer: observer)
    }

    /// A volume whose engine may break a rule on purpose, for the simulation.
    package init(
        _ options: VolumeOptions, group: InitiatorGroup, hostMemory: HostMemory? = nil, rules: Rules,
        observer: @escaping @Sendable (VolumeEvent) -> Void
    ) throws(MemoryError) {
        invariant(options.members.count == memberCount, "a volume has three members")
        self.options = options
        self.group = group
        self.observer = observer
        memory = try VolumeMemory(
            engineBytes: VolumeEngine.arenaByteCount(options.configuration),
            bufferBytes: hostMemory == nil ? options.bufferBytes : 0)
        self.hostMemory = hostMemory ?? memory
        guard let arena = memory.engine.memory.baseAddress else { invariantViolated("an arena has memory") }
        engine = VolumeEngine(options.configuration, arena: arena, rules: rules)
        inbox = CompletionInbox(capacity: options.configuration.queueDepth * 8 + 4096)
        for member in MemberSet.all { links.append(MemberLink(member, options.members[member], inbox: inbox)) }
        looks = links.map { .passUnretained($0) }
        super.init()
    }

    /// There are connections to members, or some are being made or ended.
    package var hasConnections: Bool { links.contains { $0.controller != nil } }

    // MARK: The reactor's calls

    public override func poll(now: MonotonicTime) -> Int {
        self.now = now
        var work = deliver()
        for place in 0..<memberCount where looks[place]._withUnsafeGuaranteedRef({ $0.isEnding && $0.outstanding == 0 })
        {
            // What was asked for since the last round, or had no room, ends before the engine hears of the end; another
            // member's end may have asked for more.
            work += pump() + 1
            ended(links[place])
        }
        for place in 0..<memberCount where looks[place]._withUnsafeGuaranteedRef({ $0.deadAt <= now }) {
            let link = links[place]
            link.deadAt = .distantFuture
            if link.association > 1 {
                engine.handle(.associationDead(link.index, association: link.association - 1), now: now)
            }
        }
        // What the engine wants is later after each event: it counts from the earliest that it has wanted.
        nextTick = min(nextTick, engine.nextTick)
        if now >= nextTick {
            engine.tick(now: now)
            nextTick = engine.nextTick
        }
        work += pump()
        if work > 0 { group.sendSubmitted() }
        return work
    }

    public override var nextDeadline: MonotonicTime {
        links.reduce(min(nextTick, engine.nextTick)) { min($0, $1.deadAt) }
    }

    /// Brings members' completions to the engine.
    private func deliver() -> Int {
        let completions = inbox.take()
        if completions.count > 0 { engine.complete(completions, now: now) }
        return completions.count
    }

    /// Does what the engine asks for, until it asks for nothing more.
    private func pump() -> Int {
        var work = 0
        while true {
            retryBacklog()
            let requests = engine.requests.count
            for request in engine.requests { send(request) }
            engine.removeRequests()
            let completions = engine.completions
            if completions.count > 0 { complete(completions) }
            let actions = engine.takeActions()
            for action in actions { perform(action) }
            let arrived = deliver()
            if requests + actions.count + arrived + completions.count == 0 { return work }
            work += requests + actions.count + completions.count
        }
    }

    // MARK: I/O

    /// How many members hold every acknowledged write now.
    public var membersInSync: Int { engine.membersInSync.count }

    /// Blocks of the volume; meaningful while it is served.
    public var dataBlocks: UInt64 { engine.geometry.dataBlocks }

    /// Bytes of a region; meaningful while the volume is served.
    public var regionSize: UInt32 { engine.geometry.regionSize }

    /// The device of the member that was connected last, as `HostMemory` numbers it: with one device, that of all.
    public internal(set) var recentDevice = 0

    /// The longest I/O that `submit` takes, in blocks; meaningful while the volume is served.
    public var longestTransferBlocks: UInt64 { engine.maximumTransferBlocks }

    /// The state of the volume and its members, as `status()` tells it elsewhere.
    public var currentStatus: VolumeStatusReport { engine.status }

    /// Whether all connections to members have ended, and with them all use of memory.
    public var isDisconnected: Bool { links.allSatisfy { $0.controller == nil && $0.outstanding == 0 } }

    /// Accepts a host's I/O; `false` when as many run as the volume takes. `request.buffer` names memory as `HostMemory`
    /// says. Its completion goes to `sink`.
    public func submit(_ request: HostRequest) -> Bool {
        invariant(request.cookie < Self.firstWaiter, "the upper half of the cookies is taken")
        nextTick = MonotonicTime(nanoseconds: 0)
        return engine.submit(request, now: group.now)
    }

    private func complete(_ completions: UnsafeBufferPointer<HostCompletion>) {
        // Copied out: the sink may submit, and the engine's list then changes.
        withUnsafeTemporaryAllocation(of: HostCompletion.self, capacity: completions.count) { copy in
            _ = copy.initialize(from: completions)
            engine.removeCompletions()
            if !waiters.isEmpty {
                for completion in copy where completion.cookie >= Self.firstWaiter {
                    waiters.removeValue(forKey: completion.cookie)?.resume(returning: completion.status)
                }
            }
            if let sink, copy.contains(where: { $0.cookie < Self.firstWaiter }) {
                sink.completed(UnsafeBufferPointer(copy))
            }
        }
    }

    private func send(_ request: MemberRequest) {
        let link = links[request.member]
        var kind: IOKind
        switch request.operation {
        case .read: kind = .read
        case .write: kind = .write
        case .writeZeroes: kind = .writeZeroes
        case .flush: kind = .flush
        case .compare: kind = .compare
        }
        var data = segment(request, link)
        if data == nil, request.bufferOwner != .none {
            // It cannot be registered now; that is not the member's fault.
            return inbox.append(MemberCompletion(tag: request.tag, status: .notDone))
        }
        if kind == .writeZeroes, var zeroes = link.zeroes {
            zeroes.length = Int(request.count) * Int(options.configuration.blockSize)
            (kind, data) = (.write, zeroes)
        }
        let operation = IOOperation(
            kind, namespace: link.namespace, startingLBA: request.start, blockCount: request.count,
            data: data, flags: request.forceUnitAccess ? .forceUnitAccess : [], tag: request.tag)
        link.outstanding += 1
        switch link.controller?.queues[0].submit(operation) {
        case .accepted: return
        case .full:
            link.outstanding -= 1
            backlog.append(request)
        case .notConnected, .invalid, .unsupported, nil:
            // The association is ending: the engine hears of it next.
            link.outstanding -= 1
            inbox.append(MemberCompletion(tag: request.tag, status: .unknown))
        }
    }

    private func retryBacklog() {
        guard !backlog.isEmpty else { return }
        let waiting = backlog
        backlog = []
        for request in waiting { send(request) }
    }

    @inline(__always)
    private func segment(_ request: MemberRequest, _ link: MemberLink) -> IOSegment? {
        let length = Int(request.count) * Int(options.configuration.blockSize)
        let isIncoming = request.operation == .read
        switch request.bufferOwner {
        case .none: return nil
        case .host:
            return hostMemory.segment(
                request.bufferValue, length: length, isIncoming: isIncoming, device: link.device)
        case .arena:
            guard let base = memory.engine.memory.baseAddress else { return nil }
            return IOSegment(base + Int(request.bufferValue), length, link.keys.region(isIncoming: isIncoming))
        }
    }

    // MARK: Actions

    private func perform(_ action: VolumeAction) {
        switch action {
        case .connect(let member): connect(links[member])
        case .disconnect(let member): disconnect(links[member])
        case .reservation(let member, let command): reservation(links[member], command)
        case .phaseChanged(let phase): observer(.phase(phase))
        case .notice(let notice): observer(.notice(notice))
        case .attachFailed(let error): observer(.attachFailed(error))
        }
    }

    func tell(_ event: VolumeEvent) { observer(event) }
}
