import InitiatorTransport

/// Capsules that are collected during a round, for the transport to send with one call.
struct CapsuleBatch: ~Copyable {
    private let capsules: UnsafeMutableBufferPointer<CommandCapsule>
    private var count = 0

    init(capacity: Int) { capsules = .allocate(capacity: capacity) }

    deinit { capsules.deallocate() }

    @inline(__always) var isEmpty: Bool { count == 0 }

    /// There is room for the commands that leave together.
    @inline(__always) var hasRoom: Bool { count + 2 <= capsules.count }

    @inline(__always)
    mutating func append(_ capsule: CommandCapsule) {
        capsules[count] = capsule
        count += 1
    }

    /// The collected capsules; taken with the call, they stay as they are until the next capsule comes.
    mutating func take() -> UnsafeBufferPointer<CommandCapsule> {
        defer { count = 0 }
        return UnsafeBufferPointer(rebasing: capsules[..<count])
    }
}
