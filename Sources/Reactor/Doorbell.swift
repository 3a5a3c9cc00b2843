import CLinux
import Glibc
import Synchronization

/// Wakes a thread that sleeps, and costs nothing where it does not: the other side of a `Ring`, or of two.
///
/// The sleeper arms it, then looks once more and sleeps; the other side leaves something behind, then rings it. Both put a
/// full barrier in between, so that one of them sees what the other has done.
public final class Doorbell: Sendable {
    private let isArmed = Atomic<Bool>(false)
    /// Becomes readable when it rings.
    public let descriptor: Int32

    public init() {
        descriptor = eventfd(0, Int32(EFD_NONBLOCK) | Int32(EFD_CLOEXEC))
        if descriptor < 0 { fatalError("eventfd: \(String(cString: strerror(errno)))") }
    }

    deinit { close(descriptor) }

    /// Something was left for the sleeper.
    @inline(__always)
    public func ring() {
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        guard isArmed.load(ordering: .relaxed), isArmed.exchange(false, ordering: .relaxed) else { return }
        var one: UInt64 = 1
        _ = write(descriptor, &one, 8)
    }

    /// The sleeper is about to sleep, and looks once more before it does.
    public func arm() {
        isArmed.store(true, ordering: .relaxed)
        atomicMemoryFence(ordering: .sequentiallyConsistent)
    }

    /// The sleeper does not sleep after all.
    public func disarm() { isArmed.store(false, ordering: .relaxed) }

    /// The sleeper is awake.
    public func acknowledge() {
        isArmed.store(false, ordering: .relaxed)
        var value: UInt64 = 0
        _ = read(descriptor, &value, 8)
    }
}
