import Base
import BlockInterface
import FabricInterface
import Memory
import NVMeInitiator
import NVMeSpec
import RDMATransport
import Reactor
import Replication
import Simulation

/// A host of a volume that several daemons offer: a path to each of them, and I/O on the one that says that it is to be used. I/O whose
/// path fails is done again on another one, as Linux's native multipath does.
final class MultipathHost: @unchecked Sendable {
    // Unchecked: one thread drives a simulation.
    let number: Int
    unowned let world: SuccessionWorld
    let device: SimulatedDevice
    let group: InitiatorGroup
    let arena: RegisteredArena
    let identifier: UUIDBytes
    private let fabric: SimulatedFabric
    private(set) var paths: [HostPath] = []
    private var isTouched = true
    private(set) var deadline = MonotonicTime(nanoseconds: 0)

    /// An I/O that has not ended.
    struct Running {
        var kind: IOKind
        var start: Int
        var count: Int
        var value: UInt64
        var slot: Int
        var snapshots: [BlockHistory.Snapshot] = []
        var sequence: UInt64
        var began: MonotonicTime
        /// When the present attempt began.
        var submitted: MonotonicTime
        /// An attempt has ended, and may have taken effect.
        var mayHaveLanded = false
        /// Attempts before the present one.
        var attempts = 0
        /// The certainty of the hosts' reservation when it began.
        var reservation: HostReservation.Certainty
    }
    private(set) var running: [UInt64: Running] = [:]
    /// I/Os that wait for a path, the first first.
    private var waiting: [UInt64] = []
    private var freeSlots = Array(0..<MultipathHost.depth)
    private var submitsAt = MonotonicTime(nanoseconds: 0)
    var isStopped = false
    /// The longest time that an I/O took, in nanoseconds.
    private(set) var longest: UInt64 = 0

    static let depth = 4
    private static let mostBlocks = 4

    init(_ number: Int, world: SuccessionWorld) {
        self.number = number
        self.world = world
        identifier = UUIDBytes(high: 0x686f_7374, low: UInt64(number) + 1)
        device = world.network.makeDevice(
            "host\(number)", addresses: ["203.0.113.\(number + 1)"], node: SuccessionLinks.hostNode(number))
        fabric = SimulatedFabric([device])
        group = InitiatorGroup(RDMAInitiator(fabric, completionEntries: 512), mailbox: .withoutDescriptor())
        guard let arena = try? RegisteredArena(bytes: Self.depth * Self.mostBlocks * 512) else {
            invariantViolated("a simulated host has memory")
        }
        self.arena = arena
    }

    var name: String { "host\(number)" }
    var nqn: String { "nqn.2026-11.io.tercet:\(name)" }
    private var blockSize: Int { world.wordsPerBlock * 8 }

    func connect(_ addresses: [SocketAddress]) {
        for (place, address) in addresses.enumerated() {
            let path = HostPath(place, host: self)
            paths.append(path)
            path.connect(address)
        }
    }

    /// The path that I/O goes.
    var path: HostPath? { paths.first(where: \.isUsable) }

    // MARK: Polls

    func touch() {
        isTouched = true
        world.network.tellNews()
    }

    /// Polls where there may be something to do; `true` where there may be more at once.
    func pollIfDue(_ now: MonotonicTime) -> Bool {
        guard isTouched || fabric.hasNews || group.hasLetters || deadline <= now else { return false }
        fabric.hasNews = false
        isTouched = group.poll(now: now) > 0
        if submitDue(now) > 0 {
            group.sendSubmitted()
            isTouched = true
        }
        if !isTouched {
            group.expectEvents()
            isTouched = fabric.hasEvents || group.hasLetters
        }
        deadline = group.nextDeadline
        if !isStopped, !freeSlots.isEmpty { deadline = min(deadline, submitsAt) }
        return isTouched
    }

    /// Submits what waits and what is due; returns how many.
    private func submitDue(_ now: MonotonicTime) -> Int {
        var count = 0
        while path != nil, let cookie = waiting.first {
            waiting.removeFirst()
            guard dispatch(cookie, now) else { break }
            count += 1
        }
        guard !isStopped, now >= submitsAt, !freeSlots.isEmpty else { return count }
        submitsAt = now.advanced(byNanoseconds: world.chance(30) ? 100_000 : world.draw(0...2 * world.thinkTime))
        begin(now)
        return count + 1
    }

    // MARK: I/O

    private func begin(_ now: MonotonicTime) {
        let blocks = world.history.blocks.count
        let start = world.chance(50) ? world.below(blocks) : world.below(8)
        let count = min(1 + world.below(Self.mostBlocks), blocks - start)
        switch world.below(100) {
        case 0..<50: submit(.write, start: start, count: count, now)
        case 50..<85: submit(.read, start: start, count: count, now)
        case 85..<93: submit(.writeZeroes, start: start, count: count, now)
        default: submit(.flush, start: 0, count: 0, now)
        }
    }

    func submit(_ kind: IOKind, start: Int, count: Int, _ now: MonotonicTime) {
        guard let slot = freeSlots.popLast() else { return }
        let cookie = world.nextValue()
        let value = kind == .write ? cookie : 0
        if kind == .write {
            for place in 0..<count {
                BlockContent.lay(
                    value, of: start + place,
                    in: UnsafeMutableRawBufferPointer(start: buffer(slot) + place * blockSize, count: blockSize))
            }
        }
        running[cookie] = Running(
            kind: kind, start: start, count: count, value: value, slot: slot, sequence: world.history.sequence,
            began: now, submitted: now, reservation: world.reservation.certainty)
        if kind == .write || kind == .writeZeroes {
            for block in start..<start + count { world.history.writeStarted(block, id: cookie, value: value) }
        }
        world.trace { "\(self.name) begins \(kind) \(start)+\(count) value \(value)" }
        _ = dispatch(cookie, now)
        touch()
    }

    private func buffer(_ slot: Int) -> UnsafeMutableRawPointer {
        guard let base = arena.memory.baseAddress else { invariantViolated("an arena has memory") }
        return base + slot * Self.mostBlocks * 512
    }

    /// Sends an I/O by the path there is, or lets it wait for one; whether it was sent.
    private func dispatch(_ cookie: UInt64, _ now: MonotonicTime) -> Bool {
        guard var operation = running[cookie] else { return true }
        guard let path else {
            waiting.append(cookie)
            return false
        }
        operation.submitted = now
        if operation.kind == .read {
            operation.snapshots = (operation.start..<operation.start + operation.count).map(world.history.snapshot)
        }
        running[cookie] = operation
        let hasData = operation.kind == .read || operation.kind == .write
        let sent = path.submit(
            IOOperation(
                operation.kind, startingLBA: UInt64(operation.start), blockCount: UInt64(operation.count), tag: cookie),
            buffer: hasData ? buffer(operation.slot) : nil, length: operation.count * blockSize)
        if !sent { waiting.append(cookie) }
        return sent
    }

    func completed(_ completion: IOCompletion, by path: HostPath) {
        guard var operation = running[completion.tag] else {
            return world.fail(.completedTwice, "\(name): I/O \(completion.tag) completed twice")
        }
        world.network.note(completion.tag ^ UInt64(completion.status.code) << 32)
        world.trace {
            "\(self.name) \(operation.kind) \(operation.start)+\(operation.count) value \(operation.value) by d\(path.place): "
                + "\(completion.outcome) \(completion.status)"
        }
        let isConflict = completion.outcome == .surelyDone && completion.status.matches(.reservationConflict)
        if completion.isSuccess {
            world.ended(operation, completion.tag, by: path.place, self)
        } else if isConflict {
            world.conflicted(operation, completion.tag, by: path.place, self)
        } else {
            // The path has failed, and not the I/O: it is done again, and may have taken effect before.
            operation.mayHaveLanded = operation.mayHaveLanded || completion.outcome != .surelyNotDone
            operation.attempts += 1
            running[completion.tag] = operation
            waiting.append(completion.tag)
            path.failed(completion.status)
            return
        }
        longest = max(longest, world.network.now.nanoseconds(since: operation.began))
        running[completion.tag] = nil
        freeSlots.append(operation.slot)
    }

    /// The data that a read has brought.
    func data(_ operation: Running, _ index: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: buffer(operation.slot) + index * blockSize, count: blockSize)
    }

    // MARK: The end

    /// Ends the connections, outside of the world's time where it does not poll any more.
    func disconnect() { for path in paths { path.close() } }

    func close(_ now: MonotonicTime) {
        disconnect()
        fabric.endConnections()
        var time = now
        var quietRounds = 0
        for _ in 0..<4000 where quietRounds < 2 {
            time = time.advanced(byMilliseconds: 10)
            quietRounds = group.poll(now: time) == 0 && group.isIdle ? quietRounds + 1 : 0
        }
        group.close()
        for path in paths { path.forget() }
        world.network.remove(device)
    }
}

extension HostPath {
    /// An I/O has failed for the path's sake: Linux leaves the path until it has read what it is good for.
    func failed(_ status: Status) {
        suspend()
        readAccess()
    }
}
