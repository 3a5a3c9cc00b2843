import Base
import Glibc
import Replication

/// A command at a target.
final class ModelCommand {
    let request: MemberRequest
    unowned let initiator: ModelInitiator
    let association: UInt64
    var data: UnsafeMutableRawPointer?
    /// The command was answered, or can no longer be.
    var isOver = false
    /// It passed the reservation check and has its data: it may land, whatever becomes of its connection.
    var isRunning = false

    init(_ request: MemberRequest, _ initiator: ModelInitiator, _ association: UInt64) {
        self.request = request
        self.initiator = initiator
        self.association = association
    }
    deinit { data?.deallocate() }
}

/// One association, as the target sees it.
final class ModelSession {
    let association: UInt64
    let host: Int
    var commands: [ModelCommand] = []
    var isDead = false
    init(_ association: UInt64, host: Int) {
        self.association = association
        self.host = host
    }
    var isQuiet: Bool { commands.allSatisfy { $0.isOver } }
}

/// A target with one namespace: volatile cache, reservations, sessions.
final class ModelTarget {
    static let blockSize = 512
    let index: MemberIndex
    var blocks: Int
    /// Contents that survive a power loss.
    var durable: UnsafeMutableRawPointer
    /// Contents as reads see them: the cache over the durable blocks.
    var view: UnsafeMutableRawPointer
    var isDirty: [Bool]
    /// Blocks whose writeback failed.
    private var lost: Set<Int> = []
    var isUp = true
    var bootInstance: UInt64 = 100
    /// When it last went down. Its boot instance changes then, whether or not the cache was lost: the initiator cannot
    /// know.
    var lastStop: UInt64 = 0
    var sessions: [ModelSession] = []
    var registrants: [(host: Int, key: UInt64)] = []
    var holder: Int?
    /// Hosts that are to be sent a Registration Preempted notification.
    var preemptedHosts: [Int] = []
    var unreadable: Set<Int> = []
    var failsWritesIn: Range<Int> = 0..<0
    var isFull = false
    /// Blocks that are thin, and that there is no room for.
    var hasNoRoomFor: Range<Int> = 0..<0
    /// A flush, or a write with FUA, fails once: what the cache held could not be written back.
    var owesFailure = false
    var isBusy = false
    var slowness: UInt64 = 1
    /// Nothing lands before this time.
    var stallUntil: UInt64 = 0
    /// The time by which superblock slots take longer than the rest.
    var recordDelay: UInt64 = 0
    /// A new association of a host ends the old one's commands first.
    var drainsAtConnect = true

    init(index: MemberIndex, blocks: Int) {
        self.index = index
        self.blocks = blocks
        durable = calloc(blocks, Self.blockSize)
        view = calloc(blocks, Self.blockSize)
        isDirty = Array(repeating: false, count: blocks)
    }

    deinit {
        free(durable)
        free(view)
    }

    func resize(_ count: Int) {
        durable = realloc(durable, count * Self.blockSize)
        view = realloc(view, count * Self.blockSize)
        if count > blocks {
            for memory in [durable, view] {
                // The new part of a namespace that grew may hold anything.
                memset(memory + blocks * Self.blockSize, 0xa5, (count - blocks) * Self.blockSize)
            }
        }
        isDirty += Array(repeating: false, count: max(0, count - blocks))
        blocks = count
    }

    /// A new namespace is in this one's place.
    func erase() {
        memset(durable, 0, blocks * Self.blockSize)
        memset(view, 0, blocks * Self.blockSize)
        isDirty = Array(repeating: false, count: blocks)
        registrants = []
        holder = nil
    }

    func writeBlock(_ block: Int, from source: UnsafeRawPointer?, forceUnitAccess: Bool) {
        let offset = block * Self.blockSize
        if let source {
            memcpy(view + offset, source, Self.blockSize)
        } else {
            memset(view + offset, 0, Self.blockSize)
        }
        unreadable.remove(block)
        lost.remove(block)
        if forceUnitAccess {
            memcpy(durable + offset, view + offset, Self.blockSize)
            isDirty[block] = false
        } else {
            isDirty[block] = true
        }
    }

    func flush() {
        for block in 0..<blocks where isDirty[block] {
            memcpy(durable + block * Self.blockSize, view + block * Self.blockSize, Self.blockSize)
            isDirty[block] = false
        }
    }

    /// The cache cannot be written back: reads find it until the power goes, no later flush covers it, and the next command
    /// that has to make something durable says so, once (Linux: errseq_t). The target has another instance then.
    func loseWriteback() {
        lost.formUnion((0..<blocks).filter { isDirty[$0] })
        for block in 0..<blocks { isDirty[block] = false }
        owesFailure = true
    }

    /// Whether a loss of power would change nothing in some blocks.
    func isDurable(_ range: Range<Int>) -> Bool {
        let start = range.lowerBound * Self.blockSize
        return memcmp(view + start, durable + start, range.count * Self.blockSize) == 0
    }

    private func failsOnce() -> Bool {
        guard owesFailure else { return false }
        owesFailure = false
        bootInstance += 1
        return true
    }

    /// Does a command, wholly, and says how it ended.
    func execute(_ command: ModelCommand) -> MemberStatus {
        let request = command.request
        let range = Int(request.start)..<Int(request.start + request.count)
        guard range.upperBound <= blocks else { return .mediaError }
        switch request.operation {
        case .flush:
            if failsOnce() { return .mediaError }
            flush()
        case .read, .compare: return range.contains(where: unreadable.contains) ? .mediaError : .success
        case .write, .writeZeroes:
            if isFull || range.overlaps(hasNoRoomFor) { return .noSpace }
            if range.overlaps(failsWritesIn) { return .mediaError }
            if request.forceUnitAccess, failsOnce() { return .mediaError }
            applyWrite(command, keeping: { true })
        }
        return .success
    }

    /// Writes those of a command's blocks that `keeping` says.
    func applyWrite(_ command: ModelCommand, keeping: () -> Bool) {
        let request = command.request
        guard request.operation == .write || request.operation == .writeZeroes else { return }
        for index in 0..<Int(request.count) where Int(request.start) + index < blocks && keeping() {
            writeBlock(
                Int(request.start) + index, from: command.data.map { UnsafeRawPointer($0 + index * Self.blockSize) },
                forceUnitAccess: request.forceUnitAccess)
        }
    }

    /// Ends the commands of a session; each may land, wholly or in part, or not.
    func end(_ session: ModelSession, _ random: inout SeededRandom, torn: Bool) {
        session.isDead = true
        for command in session.commands where !command.isOver {
            command.isOver = true
            guard command.isRunning else { continue }
            if torn {
                var choice = random
                applyWrite(command) { choice.chance(50) }
                random = choice
            } else if random.chance(50) {
                applyWrite(command) { true }
            }
        }
        session.commands = []
    }

    /// The process dies; with `power` so does the cache, of which any blocks may survive.
    func crash(power: Bool, now: UInt64, _ random: inout SeededRandom) {
        isUp = false
        for session in sessions { end(session, &random, torn: true) }
        sessions = []
        isBusy = false
        slowness = 1
        lastStop = now
        guard power else { return }
        for block in 0..<blocks where isDirty[block] {
            let offset = block * Self.blockSize
            if random.chance(50) {
                memcpy(durable + offset, view + offset, Self.blockSize)
            } else {
                memcpy(view + offset, durable + offset, Self.blockSize)
            }
            isDirty[block] = false
        }
        for block in lost { memcpy(view + block * Self.blockSize, durable + block * Self.blockSize, Self.blockSize) }
        lost = []
    }

    func start() {
        isUp = true
        bootInstance += 1
    }

    func mayWrite(_ host: Int) -> Bool { holder == nil || registrants.contains { $0.host == host } }

    func report(for host: Int) -> ReservationReport {
        ReservationReport(
            holderKey: registrants.first { $0.host == holder }?.key ?? 0, keys: registrants.map(\.key),
            ownKey: registrants.first { $0.host == host }?.key ?? 0)
    }

    func reserve(_ command: ReservationCommand, host: Int, _ random: inout SeededRandom) -> MemberStatus {
        switch command {
        case .register(let key):
            registrants.removeAll { $0.host == host }
            registrants.append((host, key))
        case .acquire(let key):
            guard registrants.contains(where: { $0.host == host && $0.key == key }), holder == nil || holder == host
            else {
                return .reservationConflict
            }
            holder = host
        case .preempt(let key, let preempted), .preemptAndAbort(let key, let preempted):
            guard registrants.contains(where: { $0.host == host && $0.key == key }) else { return .reservationConflict }
            let victims = registrants.filter { $0.key == preempted }.map(\.host)
            guard !victims.isEmpty else { return .reservationConflict }
            registrants.removeAll { $0.key == preempted }
            if let held = holder, victims.contains(held) { holder = host }
            if case .preemptAndAbort = command {
                preemptedHosts += victims
                for session in sessions where victims.contains(session.host) {
                    for command in session.commands where !command.isOver {
                        command.isOver = true
                        if command.isRunning, random.chance(50) { applyWrite(command) { true } }
                    }
                    session.commands = []
                }
            }
        case .unregister(let key):
            guard registrants.contains(where: { $0.host == host && $0.key == key }) else { return .reservationConflict }
            registrants.removeAll { $0.host == host }
            if holder == host { holder = nil }
        case .report: break
        }
        return .success
    }
}
