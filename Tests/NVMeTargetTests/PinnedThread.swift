import CLinux
import Foundation
import Synchronization

/// A thread at a processor of its own, for what is measured beside other work: the memory caches of a reactor stay as its rounds leave
/// them, whatever the rest of its process does meanwhile. It stays until the process ends.
///
/// Unchecked: a caller waits while the thread works, and the thread while no caller does.
final class PinnedThread: @unchecked Sendable {
    private var work: (() -> Void)?
    private let begun = DispatchSemaphore(value: 0)
    private let isDone = Atomic(false)

    /// - Parameter processor: its place among those that this process may run on; below 0 it is counted from the last, -1.
    init(processor: Int32) {
        let number = tercet_allowed_processor(processor)
        let thread = Thread { [self] in
            if number >= 0 { _ = tercet_pin_to_processor(number) }
            while true {
                begun.wait()
                perform()
                isDone.store(true, ordering: .releasing)
            }
        }
        thread.stackSize = 8 << 20
        thread.start()
    }

    /// Does what is to be done, and holds it no longer.
    @inline(never)
    private func perform() { work?() }

    /// Does something on the thread, and waits for it. The caller's processor is kept awake, and what its caches hold.
    func run<Value>(_ body: () throws -> Value) throws -> Value {
        try withoutActuallyEscaping(body) { body in
            var outcome: Result<Value, any Error>?
            work = { outcome = Result { try body() } }
            isDone.store(false, ordering: .relaxed)
            begun.signal()
            while !isDone.load(ordering: .acquiring) {}
            work = nil
            guard let outcome else { throw WorldError("the thread has done nothing") }
            return try outcome.get()
        }
    }
}
