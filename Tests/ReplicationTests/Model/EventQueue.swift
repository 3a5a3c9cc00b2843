/// Simulated time: actions in the order of their time, and of their making where times are equal.
final class EventQueue {
    private struct Event {
        var time: UInt64
        var order: UInt64
        var action: () -> Void
        static func precedes(_ a: Event, _ b: Event) -> Bool { a.time == b.time ? a.order < b.order : a.time < b.time }
    }
    private var heap: [Event] = []
    private var orders: UInt64 = 0
    private(set) var now: UInt64 = 0

    func after(_ delay: UInt64, _ action: @escaping () -> Void) {
        orders += 1
        heap.append(Event(time: now + delay, order: orders, action: action))
        var child = heap.count - 1
        while child > 0, Event.precedes(heap[child], heap[(child - 1) / 2]) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    /// Forgets what was still to be done: it refers to what refers to the queue.
    func removeAll() { heap = [] }

    /// Does the next action; false when there is none.
    func step() -> Bool {
        guard let first = heap.first else { return false }
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            var parent = 0
            while true {
                var least = parent
                for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count {
                    if Event.precedes(heap[child], heap[least]) { least = child }
                }
                if least == parent { break }
                heap.swapAt(parent, least)
                parent = least
            }
        }
        now = first.time
        first.action()
        return true
    }
}
