import Base
import CTercet
import Glibc
import Memory
import NVMeAuthentication
import NVMeInitiator
import RDMATransport
import Synchronization
import VerbsFabric

/// The object behind `struct tercet`: the common part of a namespace and a volume. Its caller's thread drives it.
class Handle {
    let group: InitiatorGroup
    let memory: HandleMemory
    let depth: Int
    /// Set once the namespace or volume is known.
    final var blockSize = 512
    private let slots: UnsafeMutablePointer<Slot>
    private let free: UnsafeMutablePointer<Int32>
    private let state: UnsafeMutablePointer<State>
    private let finished: UnsafeMutablePointer<tercet_completion>

    private struct Slot {
        var userData: UnsafeMutableRawPointer?
    }

    private struct State {
        var freeCount: Int
        /// Operations that have ended and have not been taken by the caller.
        var finishedCount = 0
    }

    /// Handles that a process may have: each has a registration cache, and all are told of each change of memory.
    private static let mostHandles = 200
    private static let handles = Atomic<Int>(0)

    /// The process that opened the first handle; 0 before.
    private static let process = Atomic<Int32>(0)

    /// The reactor's part that a new handle drives.
    static func makeGroup(_ keys: KeySource?) throws(OpenFailure) -> InitiatorGroup {
        guard handles.load(ordering: .relaxed) < mostHandles else {
            throw OpenFailure(code: -EMFILE, message: "a process may open \(mostHandles) handles")
        }
        let (_, first) = process.compareExchange(expected: 0, desired: getpid(), ordering: .relaxed)
        guard first == 0 || first == getpid() else {
            throw OpenFailure(
                code: -ENOTSUP, message: "this process was forked from one that had opened a handle: fork before")
        }
        do {
            return InitiatorGroup(RDMAInitiator(try VerbsFabric.open()), keys: keys)
        } catch { throw OpenFailure(code: -ENODEV, message: "\(error)") }
    }

    init(group: InitiatorGroup, memory: HandleMemory, depth: Int) {
        Handle.handles.add(1, ordering: .relaxed)
        self.group = group
        self.memory = memory
        self.depth = depth
        slots = .allocate(capacity: depth)
        slots.initialize(repeating: Slot(), count: depth)
        free = .allocate(capacity: depth)
        for index in 0..<depth { free[index] = Int32(depth - 1 - index) }
        state = .allocate(capacity: 1)
        state.initialize(to: State(freeCount: depth))
        finished = .allocate(capacity: depth)
    }

    deinit {
        slots.deallocate()
        free.deallocate()
        state.deallocate()
        finished.deallocate()
        Handle.handles.subtract(1, ordering: .relaxed)
    }

    // MARK: What a namespace and a volume do each in their own way

    /// The present size in logical blocks.
    var blockCount: UInt64 { 0 }

    /// Begins an operation in a slot; 0, or a negative errno when nothing has begun.
    func begin(_ io: borrowing tercet_io, _ slot: Int) -> Int32 { -EINVAL }

    /// One round of work.
    func advance() {}

    func fill(_ status: inout tercet_status) {}

    /// Ends everything but the group; 0 or a negative errno.
    func end() -> Int32 { 0 }

    // MARK: The calls

    func submit(_ io: UnsafePointer<tercet_io>) -> Int32 {
        let count = state.pointee.freeCount
        guard count > 0 else { return -EAGAIN }
        // The caller may have done other things since its last poll.
        if count == depth { group.advance(to: .now()) }
        let slot = Int(free[count - 1])
        slots[slot].userData = io.pointee.user_data
        state.pointee.freeCount = count - 1
        let result = begin(io.pointee, slot)
        if _slowPath(result != 0) {
            memory.end(slot, isSuccess: false)
            state.pointee.freeCount = count
        }
        return result
    }

    func poll(_ completions: UnsafeMutableBufferPointer<tercet_completion>) -> Int32 {
        if state.pointee.finishedCount == 0 { advance() }
        let found = state.pointee.finishedCount
        if found == 0 { return 0 }
        let count = min(found, completions.count)
        for index in 0..<count { completions[index] = finished[index] }
        // Completions that did not fit go to the front for the next call.
        for index in count..<found { finished[index - count] = finished[index] }
        state.pointee.finishedCount = found - count
        return Int32(count)
    }

    /// An operation has ended: its buffer is the caller's again.
    @inline(__always)
    final func finish(_ slot: Int, error: Int32, status: UInt16, outcome: IOOutcome) {
        let isHandedOn = memory.end(slot, isSuccess: error == 0)
        finished[state.pointee.finishedCount] = tercet_completion(
            user_data: slots[slot].userData, error: isHandedOn ? error : -EFAULT, status: status, outcome: outcome.code)
        state.pointee.finishedCount += 1
        free[state.pointee.freeCount] = Int32(slot)
        state.pointee.freeCount += 1
    }

    final var status: tercet_status {
        var status = tercet_status()
        fill(&status)
        let counters = memory.counters
        status.cache_hits = counters.hits
        status.cache_misses = counters.misses
        status.cache_evictions = counters.evictions
        status.pinned_bytes = UInt64(counters.pinnedBytes)
        return status
    }

    func close() -> Int32 {
        let result = end()
        for slot in 0..<depth { memory.end(slot, isSuccess: false) }
        group.close()
        return result
    }

    // MARK: Waiting

    /// Drives the group until a control call has ended.
    ///
    /// - Parameter round: polls the group, and what belongs to it; returns how much was done. `nil` for the group alone.
    @discardableResult
    static func wait<Value: Sendable>(
        _ group: InitiatorGroup, _ round: (() -> Int)? = nil, _ body: @escaping @Sendable () async -> Value
    ) -> Value {
        let result = Holder<Value>()
        group.advance(to: .now())
        group.spawn { result.value = await body() }
        while true {
            let work = round?() ?? group.poll(now: .now())
            if let value = result.value { return value }
            // Control calls take milliseconds; the peer may need this processor for its answer.
            if work == 0 { usleep(20) }
        }
    }

    /// The result of a task, for the thread that drives it.
    private final class Holder<Value>: @unchecked Sendable {
        // Unchecked: the task runs on the thread that drives the handle, which reads it.
        var value: Value?
    }
}
