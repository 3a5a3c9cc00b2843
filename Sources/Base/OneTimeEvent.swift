import Synchronization

/// Something that happens once, such as the end of a device's closing: whoever has to wait for it waits here.
public final class OneTimeEvent: Sendable {
    private struct State {
        var hasCome = false
        var waiters: [@Sendable () -> Void] = []
    }

    private let state = Mutex(State())

    /// An event that has not happened yet.
    public init() {}

    /// Whether it has happened.
    public var hasCome: Bool { state.withLock { $0.hasCome } }

    /// It has happened. From any thread.
    public func signal() {
        let waiters = state.withLock { state in
            state.hasCome = true
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter() }
    }

    /// Waits until it has happened, for so long at the most if there is a limit; `false` where it has not.
    public func wait(seconds: Double? = nil) async -> Bool {
        await withCheckedContinuation { (continuation: CheckedContinuation<Bool, Never>) in
            let box = Box(continuation)
            let hasCome = state.withLock { state in
                if !state.hasCome { state.waiters.append { box.resume(true) } }
                return state.hasCome
            }
            if hasCome { return box.resume(true) }
            guard let seconds else { return }
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
