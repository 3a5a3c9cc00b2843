import Base

/// The sleeps of a group's tasks, the next to end first: a binary heap, so that hundreds which sleep cost nothing until they are due.
struct TimerQueue {
    /// A sleep's place in the heap: plain data, which moves at no cost.
    private struct Key: BitwiseCopyable {
        var deadline: MonotonicTime
        /// Of two that are due at the same time, the one that came first goes first.
        var number: UInt64
        var sleeper: Int

        func comes(before other: Key) -> Bool {
            deadline != other.deadline ? deadline < other.deadline : number < other.number
        }
    }

    private struct Sleeper {
        var token: SleepToken?
        var continuation: CheckedContinuation<Void, Never>
    }

    private var heap: [Key] = []
    private var sleepers: [Sleeper?] = []
    private var free: [Int] = []
    private var nextNumber: UInt64 = 0

    var isEmpty: Bool { heap.isEmpty }

    /// When the first sleep ends.
    var nextDeadline: MonotonicTime { heap.first?.deadline ?? .distantFuture }

    mutating func add(_ deadline: MonotonicTime, _ token: SleepToken?, _ continuation: CheckedContinuation<Void, Never>)
    {
        let sleeper = Sleeper(token: token, continuation: continuation)
        let place = free.popLast() ?? sleepers.count
        if place == sleepers.count { sleepers.append(sleeper) } else { sleepers[place] = sleeper }
        nextNumber += 1
        heap.append(Key(deadline: deadline, number: nextNumber, sleeper: place))
        rise(heap.count - 1)
    }

    /// Ends the sleeps whose time has come.
    mutating func wake(_ now: MonotonicTime) {
        while let first = heap.first, first.deadline <= now {
            heap.swapAt(0, heap.count - 1)
            heap.removeLast()
            sink(0)
            end(first)
        }
    }

    /// Ends the sleeps that were cancelled, in the order in which they began.
    mutating func wakeCancelled() {
        let isCancelled = sleepers.map { $0?.token?.isCancelled == true }
        let cancelled = heap.filter { isCancelled[$0.sleeper] }.sorted { $0.number < $1.number }
        heap.removeAll { isCancelled[$0.sleeper] }
        for place in stride(from: heap.count / 2 - 1, through: 0, by: -1) { sink(place) }
        for key in cancelled { end(key) }
    }

    /// Ends all sleeps.
    mutating func wakeAll() {
        let all = heap
        heap = []
        for key in all { end(key) }
    }

    private mutating func end(_ key: Key) {
        let continuation = sleepers[key.sleeper]?.continuation
        sleepers[key.sleeper] = nil
        free.append(key.sleeper)
        continuation?.resume()
    }

    private mutating func rise(_ place: Int) {
        var place = place
        while place > 0, heap[place].comes(before: heap[(place - 1) / 2]) {
            heap.swapAt(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
    }

    private mutating func sink(_ place: Int) {
        var place = place
        while true {
            var first = place
            for child in 2 * place + 1...2 * place + 2 where child < heap.count {
                if heap[child].comes(before: heap[first]) { first = child }
            }
            guard first != place else { return }
            heap.swapAt(place, first)
            place = first
        }
    }
}

/// Ends a sleep early. On the thread of the group that sleeps.
public final class SleepToken: @unchecked Sendable {
    // Unchecked: the group's thread alone uses it.
    private unowned let group: InitiatorGroup
    private(set) var isCancelled = false

    public init(_ group: InitiatorGroup) { self.group = group }

    /// The sleep ends in the group's next round that has work.
    public func cancel() {
        isCancelled = true
        group.hasCancelledTimer = true
    }
}
