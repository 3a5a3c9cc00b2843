import Synchronization

/// Work handed to a thread by other threads, in the order in which it was sent. For the control plane: sending takes a
/// lock and allocates.
public final class Mailbox: Sendable {
    private let messages = Mutex<[@Sendable () -> Void]>([])
    private let count = Atomic<Int>(0)
    private let bell: Doorbell?

    public init() { bell = Doorbell() }

    private init(bell: Doorbell?) { self.bell = bell }

    /// A mailbox of an owner that never sleeps, as in a simulation: nothing wakes it up.
    public static func withoutDescriptor() -> Mailbox { Mailbox(bell: nil) }

    /// Becomes readable when work arrives while its owner sleeps; -1 where there is none.
    public var descriptor: Int32 { bell?.descriptor ?? -1 }

    /// Leaves `body` to be run by the mailbox's owner.
    public func send(_ body: @escaping @Sendable () -> Void) {
        let isFirst = messages.withLock { messages in
            messages.append(body)
            return count.add(1, ordering: .acquiringAndReleasing).oldValue == 0
        }
        // The owner looks once more before it sleeps: the first letter alone has to wake it.
        if isFirst { bell?.ring() }
    }

    /// The owner is about to sleep, and looks once more before it does. Awake it is not to be woken: a letter costs no system call.
    public func arm() { bell?.arm() }

    /// Whether nothing has arrived.
    public var isEmpty: Bool { count.load(ordering: .acquiring) == 0 }

    /// Runs the work that has arrived, oldest first, and returns how many pieces there were. One atomic load if there are none.
    ///
    /// - Parameter most: pieces that are run at the most; the others are left for the next call. Owners that have other work to
    ///   do say how many, as anybody may send a thousand at once.
    @discardableResult
    public func drain(most: Int = .max) -> Int {
        guard count.load(ordering: .acquiring) > 0 else { return 0 }
        let arrived = messages.withLock { messages in
            let taken = Array(messages.prefix(most))
            messages.removeFirst(taken.count)
            count.store(messages.count, ordering: .releasing)
            return taken
        }
        for message in arrived { message() }
        return arrived.count
    }

    /// Makes the descriptor unreadable until more work arrives.
    public func acknowledge() { bell?.acknowledge() }
}
