import Synchronization

/// Work handed to a thread by other threads, in the order in which it was sent. For the control plane: sending takes a
/// lock and allocates.
public final class Mailbox: Sendable {
    private let bundles = Mutex(Bundles())
    private let count = Atomic<Int>(0)
    private let bell: Doorbell?

    public init() { bell = Doorbell() }

    private init(bell: Doorbell?) { self.bell = bell }

    /// A mailbox of an owner that never sleeps, as in a simulation: nothing wakes it up.
    public static func withoutDescriptor() -> Mailbox { Mailbox(bell: nil) }

    /// Becomes readable when work arrives while its owner sleeps; -1 where there is none.
    public var descriptor: Int32 { bell?.descriptor ?? -1 }

    /// Leaves `body` to be run by the mailbox's owner.
    ///
    /// - Parameter alone: `drainSome` runs nothing else with it, for it takes long.
    public func send(alone: Bool = false, _ body: @escaping @Sendable () -> Void) {
        let isFirst = bundles.withLock { bundles in
            bundles.append(body, alone: alone)
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
    @discardableResult
    public func drain() -> Int {
        guard count.load(ordering: .acquiring) > 0 else { return 0 }
        let arrived = bundles.withLock { bundles in
            count.store(0, ordering: .releasing)
            return bundles.takeAll()
        }
        for bundle in arrived { for letter in bundle { letter() } }
        return arrived.reduce(0) { $0 + $1.count }
    }

    /// Runs a few pieces of the work that has arrived, `bundleSize` at the most, and leaves the others for the next call: for owners
    /// that have other work to do, as anybody may send a thousand pieces at once.
    @discardableResult
    public func drainSome() -> Int {
        guard count.load(ordering: .acquiring) > 0 else { return 0 }
        let oldest = bundles.withLock { bundles in
            let oldest = bundles.takeOldest()
            count.subtract(oldest.count, ordering: .releasing)
            return oldest
        }
        for letter in oldest { letter() }
        return oldest.count
    }

    /// Letters that are taken out together.
    public static let bundleSize = 4

    /// Makes the descriptor unreadable until more work arrives.
    public func acknowledge() { bell?.acknowledge() }
}

/// The letters of a mailbox, in bundles.
///
/// An owner that opens a few of a thousand touches these alone. Another processor has just written the others: to move them all up by
/// a few places would take longer than what the few ask for.
private struct Bundles {
    private var bundles: [[@Sendable () -> Void]] = []
    /// The last bundle takes more letters.
    private var isOpen = false

    mutating func append(_ letter: @escaping @Sendable () -> Void, alone: Bool) {
        defer { isOpen = !alone }
        if isOpen, !alone, let last = bundles.indices.last, bundles[last].count < Mailbox.bundleSize {
            return bundles[last].append(letter)
        }
        var bundle: [@Sendable () -> Void] = []
        bundle.reserveCapacity(Mailbox.bundleSize)
        bundle.append(letter)
        bundles.append(bundle)
    }

    mutating func takeAll() -> [[@Sendable () -> Void]] {
        defer { bundles = [] }
        return bundles
    }

    mutating func takeOldest() -> [@Sendable () -> Void] { bundles.isEmpty ? [] : bundles.removeFirst() }
}
