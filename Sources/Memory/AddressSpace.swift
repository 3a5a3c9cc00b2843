import Base
import CLinux
import Glibc
import Synchronization

/// The state that the registration caches of a process share: a lock for everything but the hit path, and the watch on
/// changes of the address space. There is one per process, because one userfaultfd only can watch memory.
///
/// The order of steps makes the watch proof. The kernel holds a thread that unmaps memory until its event has been read, and
/// `pending` is raised before the reading. A thread that knows that memory was unmapped therefore also sees `pending`
/// raised, and waits until the caches have been cleaned. There is one gap left: the kernel frees the addresses a moment
/// before it queues the event, so another thread may get them and use them meanwhile; `synchronize` closes it.
///
/// The watching thread must never free memory: that may unmap watched pages, and it would wait for itself. It only marks;
/// a second thread deregisters. For the same reason nothing is allocated or freed under the lock, on which it waits.
final class AddressSpace: @unchecked Sendable {
    // Unchecked: its lock guards the state; `pending` is atomic.

    static let shared = AddressSpace()

    /// Raised while changes have been read but not told to the caches.
    let pending = Atomic<Int>(0)
    /// Counts the changes told to the caches. Under the lock.
    private(set) var changes: UInt64 = 0
    /// The last of them, by their count.
    private let recent: UnsafeMutablePointer<Range<UInt>>
    private static let recentCount: UInt64 = 256
    /// Registrations that are being made, outside the lock. Under the lock.
    var registering = 0
    /// The caches, which take themselves out before they go.
    private var caches: [Unmanaged<RegistrationCache>] = []

    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let changed: UnsafeMutablePointer<pthread_cond_t>
    private let retired: UnsafeMutablePointer<pthread_cond_t>
    /// The userfaultfd, or -1 if it is refused or has not been asked for. Under the lock until it is set.
    private let descriptor = Atomic<Int32>(-1)
    private var isWatchRefused = false

    private static let mostCaches = 256

    private init() {
        caches.reserveCapacity(Self.mostCaches)
        recent = .allocate(capacity: Int(Self.recentCount))
        recent.initialize(repeating: 0..<0, count: Int(Self.recentCount))
        mutex = .allocate(capacity: 1)
        mutex.initialize(to: pthread_mutex_t())
        pthread_mutex_init(mutex, nil)
        changed = .allocate(capacity: 1)
        changed.initialize(to: pthread_cond_t())
        pthread_cond_init(changed, nil)
        retired = .allocate(capacity: 1)
        retired.initialize(to: pthread_cond_t())
        pthread_cond_init(retired, nil)
    }

    func lock() { pthread_mutex_lock(mutex) }
    func unlock() { pthread_mutex_unlock(mutex) }

    /// Takes the lock at a moment when all changes that have been read have been told.
    func lockSettled() {
        lock()
        while pending.load(ordering: .acquiring) != 0 { pthread_cond_wait(changed, mutex) }
    }

    /// Waits, under the lock, for a change of something that `signal` reports.
    func wait() { pthread_cond_wait(changed, mutex) }
    func signal() { pthread_cond_broadcast(changed) }

    /// Wakes the thread that deregisters. Under the lock.
    func signalRetired() { pthread_cond_signal(retired) }

    func add(_ cache: RegistrationCache) {
        lock()
        invariant(caches.count < Self.mostCaches, "there is a registration cache for each device, not for each user")
        caches.append(Unmanaged.passUnretained(cache))
        unlock()
    }

    func remove(_ cache: RegistrationCache) {
        lock()
        caches.removeAll { $0.toOpaque() == Unmanaged.passUnretained(cache).toOpaque() }
        unlock()
    }

    /// Begins to watch, once per process. False if userfaultfd is refused.
    func startWatching() -> Bool {
        lock()
        defer { unlock() }
        if descriptor.load(ordering: .relaxed) >= 0 { return true }
        if isWatchRefused { return false }
        let opened = tercet_userfaultfd_open()
        guard opened >= 0 else {
            isWatchRefused = true
            return false
        }
        descriptor.store(opened, ordering: .releasing)
        let isStarted =
            Self.startThread { _ in AddressSpace.shared.watch() }
            && Self.startThread { _ in AddressSpace.shared.reap() }
        guard isStarted else {
            // Nothing has been registered with it yet, so that nobody waits for it.
            descriptor.store(-1, ordering: .releasing)
            isWatchRefused = true
            return false
        }
        return true
    }

    private static func startThread(
        _ entry: @escaping @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer?
    ) -> Bool {
        var thread = pthread_t()
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        return pthread_create(&thread, &attributes, entry, nil) == 0
    }

    /// Begins to watch a range of whole pages. False if it cannot be watched.
    func watch(_ range: Range<UInt>) -> Bool {
        tercet_userfaultfd_watch(
            descriptor.load(ordering: .acquiring), UInt64(range.lowerBound), UInt64(range.count)) == 0
    }

    /// Ends watching a range, if no entry of any cache needs it and none is being made. Under the lock.
    func unwatchIfUnused(_ range: Range<UInt>) {
        if registering > 0 { return }
        for cache in caches where cache._withUnsafeGuaranteedRef({ $0.overlapsLive(range) }) { return }
        _ = tercet_userfaultfd_unwatch(
            descriptor.load(ordering: .relaxed), UInt64(range.lowerBound), UInt64(range.count))
    }

    /// Returns once the caches know of each change that began before the call. One system call of some 100 ns.
    func synchronize() {
        let descriptor = descriptor.load(ordering: .acquiring)
        if descriptor < 0 { return }
        while _slowPath(tercet_userfaultfd_is_changing(descriptor) != 0) { sched_yield() }
        if _slowPath(pending.load(ordering: .acquiring) != 0) {
            lockSettled()
            unlock()
        }
    }

    /// Tells all caches, under the lock.
    func tell(_ range: Range<UInt>) {
        recent[Int(changes % Self.recentCount)] = range
        changes += 1
        for cache in caches { cache._withUnsafeGuaranteedRef { $0.forget(range) } }
    }

    /// Whether a range may have changed since `changes` was `count`. Under the lock.
    func hasChanged(_ range: Range<UInt>, since count: UInt64) -> Bool {
        if changes - count > Self.recentCount { return true }
        for change in count..<changes where recent[Int(change % Self.recentCount)].overlaps(range) { return true }
        return false
    }

    /// The watching thread. Allocates and frees nothing.
    private func watch() -> Never {
        var entry = pollfd(fd: descriptor.load(ordering: .acquiring), events: Int16(POLLIN), revents: 0)
        var start: UInt64 = 0
        var end: UInt64 = 0
        while true {
            _ = Glibc.poll(&entry, 1, -1)
            pending.add(1, ordering: .sequentiallyConsistent)
            // Read without the lock: who holds it may be the one that waits for this event.
            var has = tercet_userfaultfd_next(entry.fd, &start, &end) != 0
            lock()
            while has {
                tell(UInt(start)..<UInt(end))
                has = tercet_userfaultfd_next(entry.fd, &start, &end) != 0
            }
            pending.subtract(1, ordering: .sequentiallyConsistent)
            signal()
            unlock()
        }
    }

    /// The deregistering thread.
    private func reap() -> Never {
        lock()
        while true {
            if let cache = caches.first(where: { $0._withUnsafeGuaranteedRef { $0.hasRetired } }) {
                // The cache waits for this before it goes.
                cache._withUnsafeGuaranteedRef { $0.reapOne() }
            } else {
                pthread_cond_wait(retired, mutex)
            }
        }
    }
}
