import CLinux
import Glibc
import Synchronization
import SystemPackage

/// Work handed to a thread by other threads, in the order in which it was sent. For the control plane: sending takes a
/// lock and allocates.
public final class Mailbox: Sendable {
    private let messages = Mutex<[@Sendable () -> Void]>([])
    private let count = Atomic<Int>(0)
    /// Becomes readable when work arrives; -1 where there is none.
    public let descriptor: Int32

    public init() {
        descriptor = eventfd(0, Int32(EFD_NONBLOCK) | Int32(EFD_CLOEXEC))
        if descriptor < 0 { fatalError("eventfd: \(Errno(rawValue: errno))") }
    }

    private init(descriptor: Int32) { self.descriptor = descriptor }

    /// A mailbox of an owner that never sleeps, as in a simulation: nothing wakes it up, and a letter costs no system call.
    public static func withoutDescriptor() -> Mailbox { Mailbox(descriptor: -1) }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Leaves `body` to be run by the mailbox's owner.
    public func send(_ body: @escaping @Sendable () -> Void) {
        let isFirst = messages.withLock { messages in
            messages.append(body)
            return count.add(1, ordering: .acquiringAndReleasing).oldValue == 0
        }
        // The owner looks once more before it sleeps: the first letter alone has to wake it.
        guard isFirst, descriptor >= 0 else { return }
        var one: UInt64 = 1
        _ = write(descriptor, &one, 8)
    }

    /// Whether nothing has arrived.
    public var isEmpty: Bool { count.load(ordering: .acquiring) == 0 }

    /// Runs the work that has arrived and returns how many pieces there were. One atomic load if there are none.
    @discardableResult
    public func drain() -> Int {
        guard count.load(ordering: .acquiring) > 0 else { return 0 }
        let arrived = messages.withLock { messages in
            let taken = messages
            messages.removeAll()
            count.store(0, ordering: .releasing)
            return taken
        }
        for message in arrived { message() }
        return arrived.count
    }

    /// Makes the descriptor unreadable until more work arrives.
    public func acknowledge() {
        guard descriptor >= 0 else { return }
        var value: UInt64 = 0
        _ = read(descriptor, &value, 8)
    }
}
