import FabricInterface
import Glibc

/// Completions that wait in our own memory: taken from the device before a queue pair was destroyed, or made here for
/// work that the device refused. Allocates only when more wait than ever before.
package struct CompletionList: ~Copyable {
    private var memory: UnsafeMutablePointer<WorkCompletion>
    private var capacity: Int
    private var first = 0
    package private(set) var count = 0

    package init(capacity: Int) {
        self.capacity = max(capacity, 1)
        memory = .allocate(capacity: self.capacity)
    }

    deinit { memory.deallocate() }

    package mutating func append(_ completion: WorkCompletion) {
        if first + count == capacity { makeRoom() }
        (memory + first + count).initialize(to: completion)
        count += 1
    }

    /// The oldest completion, or `nil`.
    @inline(__always)
    package mutating func takeFirst() -> WorkCompletion? {
        if count == 0 { return nil }
        let taken = memory[first]
        count -= 1
        first = count == 0 ? 0 : first + 1
        return taken
    }

    /// Takes the completions of a queue pair that is gone out, one by one.
    package mutating func removeAll(of queuePair: QueuePairHandle, _ body: (WorkCompletion) -> Void) {
        var kept = 0
        for index in 0..<count {
            let completion = memory[first + index]
            if completion.queuePair == queuePair {
                body(completion)
            } else {
                memory[first + kept] = completion
                kept += 1
            }
        }
        count = kept
    }

    private mutating func makeRoom() {
        if first > 0 {
            memory.update(from: memory + first, count: count)
        } else {
            let larger = UnsafeMutablePointer<WorkCompletion>.allocate(capacity: capacity * 2)
            larger.update(from: memory, count: count)
            memory.deallocate()
            memory = larger
            capacity *= 2
        }
        first = 0
    }
}
