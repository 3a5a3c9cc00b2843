import Base
import BlockInterface
import FabricInterface
import InitiatorTransport
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
    // Unchecked: the group's thread alone uses what changes; `async` calls hand their work to it.
    let group: InitiatorGroup
    let options: VolumeOptions
    /// Buffers for I/O, where the user brings no memory along.
    public let memory: VolumeMemory
    let hostMemory: HostMemory
    /// Takes the completions of `submit`.
    package var sink: VolumeSink?
    private let observer: @Sendable (VolumeEvent) -> Void
    /// The engine: whoever changes it has the next round look at it.
    package var engine: VolumeEngine {
        _read { yield storedEngine }
        _modify {
            mustLook = true
            yield &storedEngine
        }
    }
    private var storedEngine: VolumeEngine
    /// Something is to be done in the next round; else nothing is before `lookAt`, unless somebody answers or asks.
    var mustLook = true
    private var lookAt = MonotonicTime(nanoseconds: 0)
    private(set) var links: [MemberLink] = []
    /// The same, for each round: counting references would cost more than the look.
    private let looks: [Unmanaged<MemberLink>]
    private let inbox: CompletionInbox
    /// Commands that a member's queue had no room for, oldest first.
    private var backlog: [MemberRequest] = []
    private var nextTick = MonotonicTime(nanoseconds: 0)
    /// The time of the round that is running.
    private(set) var now = MonotonicTime(nanoseconds: 0)
    /// By number, from 1 on.
    private var users: [VolumeIO?] = []
    /// The same, for each round: counting references would cost more than the look.
    private var userLooks: [Unmanaged<VolumeIO>?] = []
    /// The user whose turn is first in the next round in which some wait.
    private var turn = 0
    /// Some users' I/Os wait: a newcomer's wait too.
    var hasWaitingUsers = false
    /// Hears that the phase or the size is another one.
    var changed: (() -> Void)?
    /// Counts of users' I/O.
    var load = VolumeLoadCounters()
    /// Channels of other reactors, and what they wake this one with.
    let door = VolumeDoor()
    private var bell: Doorbell?
    private var isBellArmed = false
    /// Asked to detach, and to leave the reservations or not: what breaks a detach off, a recovery, is followed by another one.
    var leavesReservations: Bool?

    /// Blocks of the volume; meaningful once it has been served.
    public private(set) var dataBlocks: UInt64 = 0
    /// Bytes of the longest part that the engine takes; meaningful once it has been served.
    private(set) var longestTransferBytes: UInt64 = 0
    let blockShift: UInt64

    /// - Parameters:
    ///   - hostMemory: what `HostRequest.buffer` names; `nil` for addresses of buffers that `memory` gives out.
    ///   - observer: called on the group's thread.
    public convenience init(
        _ options: VolumeOptions, group: InitiatorGroup, hostMemory: HostMemory? = nil,
        observer: @escaping @Sendable (VolumeEvent) -> Void = { _ in }
    ) throws(TercetError) {
        try self.init(options, group: group, hostMemory: hostMemory, rules: Rules(), observer: observer)
    }

    /// A volume whose engine may break a rule on purpose, for the simulation.
    package init(
        _ options: VolumeOptions, group: InitiatorGroup, hostMemory: HostMemory? = nil, rules: Rules,
        observer: @escaping @Sendable (VolumeEvent) -> Void
    ) throws(TercetError) {
        invariant(options.members.count == memberCount, "a volume has three members")
        self.options = options
        self.group = group
        self.observer = observer
        blockShift = UInt64(options.configuration.blockSize.trailingZeroBitCount)
        memory = try VolumeMemory(
            engineBytes: VolumeEngine.arenaByteCount(options.configuration),
            bufferBytes: hostMemory == nil ? options.bufferBytes : 0, registrations: options.registrations)
        self.hostMemory = hostMemory ?? memory
        guard let arena = memory.engine.memory.baseAddress else { invariantViolated("an arena has memory") }
        storedEngine = VolumeEngine(options.configuration, arena: arena, rules: rules)
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
        guard mustLook || inbox.count > 0 || now >= lookAt || !door.isEmpty || hasWaitingUsers || !backlog.isEmpty
        else {
            return 0
        }
        // The engine asks for a later time after each event: the earliest that it has asked for counts.
        if mustLook { nextTick = min(nextTick, tickTime()) }
        mustLook = false
        var work = deliver()
        if !door.isEmpty { work += collect() }
        for place in 0..<memberCount where looks[place]._withUnsafeGuaranteedRef({ $0.isEnding && $0.outstanding == 0 })
        {
            // Requests since the last round, and those without room, end before the engine hears of the end; another
            // member's end may have asked for more.
            work += pump() + 1
            ended(links[place])
        }
        for place in 0..<memberCount where looks[place]._withUnsafeGuaranteedRef({ $0.deadAt <= now }) {
            let link = links[place]
            link.deadAt = .distantFuture
            if link.association > 1 {
                storedEngine.handle(.associationDead(link.index, association: link.association - 1), now: now)
            }
        }
        if now >= nextTick {
            storedEngine.tick(now: now)
            nextTick = tickTime()
        }
        work += pump()
        if work > 0 { group.sendSubmitted() }
        nextTick = min(nextTick, tickTime())
        lookAt = nextTick
        for place in 0..<memberCount { looks[place]._withUnsafeGuaranteedRef { lookAt = min(lookAt, $0.deadAt) } }
        return work
    }

    /// When the engine gets its next tick: those of a reactor's idle volumes come at the same moments, which wakes it once for all.
    private func tickTime() -> MonotonicTime {
        let latest = storedEngine.nextTick()
        let wait = latest.nanoseconds(since: now) / 1_000_000
        // A busy one has its own.
        guard latest < .distantFuture, wait > 10 else { return latest }
        let aligned = latest.aligned(toMilliseconds: max(50, wait / 8))
        return aligned > now ? aligned : latest
    }

    public override var nextDeadline: MonotonicTime {
        if mustLook { return now }
        return door.isGateShut ? min(lookAt, door.gate.opensAt) : lookAt
    }

    /// Brings members' completions to the engine.
    private func deliver() -> Int {
        let completions = inbox.take()
        if completions.count > 0 { storedEngine.complete(completions, now: now) }
        return completions.count
    }

    /// Does what the engine asks for, until it asks for nothing more.
    private func pump() -> Int {
        var work = 0
        while true {
            retryBacklog()
            if hasWaitingUsers { submitWaiting() }
            let requests = storedEngine.requests.count
            for request in storedEngine.requests { send(request) }
            storedEngine.removeRequests()
            let completions = storedEngine.completions
            if completions.count > 0 { complete(completions) }
            let ended = tellUsers()
            let actions = storedEngine.takeActions()
            for action in actions { perform(action) }
            let arrived = deliver()
            if requests + actions.count + arrived + completions.count + ended == 0 { return work }
            work += requests + actions.count + completions.count + ended
        }
    }

    // MARK: I/O

    /// The device of the member that was connected last, as `HostMemory` numbers it: with one device, that of all.
    public internal(set) var recentDevice = 0

    /// Accepts a host's I/O, at most as long as the engine takes; `false` when as many run as it takes. `request.buffer` names
    /// memory as `HostMemory` says. Its completion goes to the user whose number is in the cookie's upper part, or to
    /// `sink` where that is 0.
    @inline(__always)
    package func submit(_ request: HostRequest) -> Bool {
        mustLook = true
        nextTick = MonotonicTime(nanoseconds: 0)
        return storedEngine.submit(request, now: group.now)
    }

    private func complete(_ completions: UnsafeBufferPointer<HostCompletion>) {
        var rawCount = 0
        for completion in completions {
            let number = Int(completion.cookie >> VolumeIO.numberShift)
            guard _fastPath(number > 0) else {
                rawCount += 1
                continue
            }
            userLooks[number - 1]?._withUnsafeGuaranteedRef {
                $0.partEnded(UInt32(truncatingIfNeeded: completion.cookie), completion.status)
            }
        }
        if _slowPath(rawCount > 0) { return completeRaw(completions, rawCount) }
        storedEngine.removeCompletions()
    }

    private func completeRaw(_ completions: UnsafeBufferPointer<HostCompletion>, _ count: Int) {
        // Copied out: the sink may submit, and the engine's list then changes.
        withUnsafeTemporaryAllocation(of: HostCompletion.self, capacity: count) { copy in
            _ = copy.initialize(from: completions.lazy.filter { $0.cookie >> VolumeIO.numberShift == 0 })
            engine.removeCompletions()
            sink?.completed(UnsafeBufferPointer(copy))
        }
    }

    // MARK: Channels of other reactors

    /// The bell that channels ring.
    func openDoor() -> Doorbell {
        if let bell { return bell }
        let new = Doorbell()
        bell = new
        return new
    }

    func add(_ inlet: VolumeInlet, scratch: UnsafeMutableRawPointer?) {
        inlet.open(on: self, scratch: scratch)
        door.add(inlet)
    }

    /// Takes what channels have left; returns how much that was.
    private func collect() -> Int {
        let work = door.collect()
        if work > 0, isBellArmed {
            isBellArmed = false
            bell?.disarm()
        }
        return work
    }

    public override func prepareToSleep() {
        isBellArmed = bell != nil
        bell?.arm()
    }

    public override func wokeUp() {
        isBellArmed = false
        bell?.acknowledge()
    }

    public override func becameReady(_ descriptor: Int32) {
        if descriptor == bell?.descriptor { wokeUp() }
    }

    public override var descriptorGeneration: UInt64 { bell == nil ? 0 : 1 }

    public override var descriptors: [Int32] { bell.map { [$0.descriptor] } ?? [] }

    // MARK: Users

    /// Adds a user; returns its number.
    /// I/Os of users that have not ended.
    var usersRunning: Int { users.reduce(0) { $0 + ($1?.running ?? 0) } }

    func add(_ user: VolumeIO) -> UInt64 {
        if let hole = users.firstIndex(where: { $0 == nil }) {
            users[hole] = user
            userLooks[hole] = .passUnretained(user)
            return UInt64(hole) + 1
        }
        users.append(user)
        userLooks.append(.passUnretained(user))
        return UInt64(users.count)
    }

    func remove(_ number: UInt64) {
        users[Int(number) - 1] = nil
        userLooks[Int(number) - 1] = nil
    }

    /// Gives the engine what waits, beginning with another user each time: none can keep it from the others.
    private func submitWaiting() {
        var isAnyLeft = false
        turn = turn + 1 < userLooks.count ? turn + 1 : 0
        for place in userLooks.indices {
            let user = userLooks[(turn + place) % userLooks.count]
            if user?._withUnsafeGuaranteedRef({ $0.waitingCount > 0 && $0.submitWaiting() }) ?? false {
                isAnyLeft = true
            }
        }
        hasWaitingUsers = isAnyLeft
    }

    /// Tells users what has ended; returns how much that was.
    private func tellUsers() -> Int {
        var told = 0
        for place in userLooks.indices { told += userLooks[place]?._withUnsafeGuaranteedRef { $0.deliver() } ?? 0 }
        return told
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
        if _slowPath(request.start >= dataBlocks) { group.trace.record(request) }
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
        group.trace.record(action)
        switch action {
        case .connect(let member): connect(links[member])
        case .disconnect(let member): disconnect(links[member])
        case .reservation(let member, let command): reservation(links[member], command)
        case .phaseChanged(let phase):
            noteSizes()
            changed?()
            observer(.phase(phase))
            if phase == .serving || phase == .suspended { detachIfAsked(now: now) }
        case .notice(let notice):
            if case .grown = notice {
                noteSizes()
                changed?()
            }
            observer(.notice(notice))
        case .attachFailed(let error): observer(.attachFailed(error))
        }
    }

    private func noteSizes() {
        dataBlocks = engine.geometry.dataBlocks
        longestTransferBytes = engine.maximumTransferBlocks << blockShift
    }

    func tell(_ event: VolumeEvent) { observer(event) }
}
