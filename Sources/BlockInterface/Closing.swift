import Synchronization

/// The moment at which a device has been closed: whoever wants to open it anew waits for it.
public final class Closing: Sendable {
    private struct State {
        var isClosed = false
        var waiters: [@Sendable () -> Void] = []
    }

    private let state = Mutex(State())

    public init() {}

    /// The device is closed.
    public func finish() {
        let waiters = state.withLock { state in
            state.isClosed = true
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter() }
    }

    /// Waits until the device is closed, for so long at the most; `false` where it is not.
    public func wait(seconds: Double) async -> Bool {
        await withCheckedContinuation { (continuation: CheckedContinuation<Bool, Never>) in
            let box = Box(continuation)
            let isClosed = state.withLock { state in
                if !state.isClosed { state.waiters.append { box.resume(true) } }
                return state.isClosed
            }
            if isClosed { return box.resume(true) }
            Task {
                try? await Task.sleep(for: .seconds(seconds))
                box.resume(false)
            }
        }
    }

    /// A continuation that is resumed by whichever comes first.
    private final class Box: Sendable {
        private let continuation: Mutex<CheckedContinuation<Bool, Never>?>

        init(_ continuation: CheckedContinuation<Bool, Never>) { self.continuation = Mutex(continuation) }

        func resume(_ result: Bool) {
            let first = continuation.withLock { continuation in
                defer { continuation = nil }
                return continuation
            }
            first?.resume(returning: result)
        }
    }
}
