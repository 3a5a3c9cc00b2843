import InitiatorTransport
import NVMeSpec

/// Capsules that are collected during a round, for the transport to send with one call.
struct CapsuleBatch: ~Copyable {
    private let capsules: UnsafeMutableBufferPointer<CommandCapsule>
    private var count = 0

    init(capacity: Int) { capsules = .allocate(capacity: capacity) }

    deinit { capsules.deallocate() }

    @inline(__always) var isEmpty: Bool { count == 0 }

    /// There is room for the commands that leave together.
    @inline(__always) var hasRoom: Bool { count + 2 <= capsules.count }

    /// Adds a capsule, built in its place: a copy of its hundred bytes would cost much of a command.
    ///
    /// - Parameter fill: sets the fields of the entry, which are zeroes.
    @inline(__always)
    mutating func append(
        _ connection: HostConnectionIndex, _ index: CommandIndex, _ data: CommandData,
        _ fill: (inout SubmissionEntry) -> Void
    ) {
        capsules[count].connection = connection
        capsules[count].index = index
        capsules[count].data = data
        capsules[count].entry = SubmissionEntry()
        fill(&capsules[count].entry)
        count += 1
    }

    /// The collected capsules; taken with the call, they stay as they are until the next capsule comes.
    mutating func take() -> UnsafeBufferPointer<CommandCapsule> {
        defer { count = 0 }
        return UnsafeBufferPointer(rebasing: capsules[..<count])
    }
}
