import Base
import NVMeSpec

/// A namespace as one queue sees it.
struct NamespaceSlot: BitwiseCopyable {
    var isPresent = false
    var nsid: UInt32 = 0
    var blockShift: UInt8 = 9
    /// Namespace Optimal I/O Boundary, in blocks; 0 for none.
    var boundary: UInt32 = 0
    /// Write Zeroes may say that the blocks may be deallocated (DLFEAT bit 3).
    var mayDeallocateZeroes = false
}

/// What stays the same of a namespace for as long as its `Controller` lives.
struct NamespacePlace {
    /// Its place in the queues' tables.
    let index: Int
    /// Bytes of a block, from the first time that the namespace could be used.
    var blockSize: Int?
}

/// What the controller takes in one command; from Identify Controller and from what the device can do.
struct TransferLimits: BitwiseCopyable {
    /// Bytes of data of one command: MDTS, and the host's own limit.
    var maxBytes: UInt64 = 4096
    /// Bytes of data that a capsule carries behind the command; 0 for none.
    var inCapsuleBytes: Int = 0
    /// SGL data block descriptors of one command.
    var maxDescriptors = 1
    /// Blocks of one command that carries no data.
    var maxBlocks: UInt64 = 65536
    /// Bytes of one Write Zeroes (WZSL) and of one Verify (VSL); all where the controller sets no limit.
    var maxZeroesBytes = UInt64.max
    var maxVerifyBytes = UInt64.max
    /// Operations of the controller beside Read, Write and Flush, which all have.
    var optional: OptionalOperations = []
}

/// Operations that a controller need not do: those of ONCS and FUSES (NVMe Base, "Identify Controller data structure").
struct OptionalOperations: OptionSet, Sendable, BitwiseCopyable {
    let rawValue: UInt8
    init(rawValue: UInt8) { self.rawValue = rawValue }
    static let compare = OptionalOperations(rawValue: 1 << 0)
    static let writeZeroes = OptionalOperations(rawValue: 1 << 1)
    static let verify = OptionalOperations(rawValue: 1 << 2)
    static let deallocate = OptionalOperations(rawValue: 1 << 3)
    static let compareAndWrite = OptionalOperations(rawValue: 1 << 4)

    init(_ identify: IdentifyController) {
        self = []
        if identify.nvmCommands.contains(.compare) { insert(.compare) }
        if identify.nvmCommands.contains(.writeZeroes) { insert(.writeZeroes) }
        if identify.nvmCommands.contains(.verify) { insert(.verify) }
        if identify.nvmCommands.contains(.datasetManagement) { insert(.deallocate) }
        // FUSES bit 0; its first half is a Compare.
        if identify.fusedOperations & 1 != 0, contains(.compare) { insert(.compareAndWrite) }
    }

    /// Whether a controller that does these does operations of a kind.
    @inline(__always)
    func include(_ kind: IOKind) -> Bool {
        switch kind {
        case .read, .write, .flush: true
        case .compare: contains(.compare)
        case .writeZeroes: contains(.writeZeroes)
        case .verify: contains(.verify)
        case .compareAndWrite: contains(.compareAndWrite)
        case .deallocate: contains(.deallocate)
        }
    }
}

/// The operations of one queue, in memory that is allocated once. It outlives connections: an operation waits here for
/// the next one.
struct OperationTable: BitwiseCopyable {
    let slots: UnsafeMutablePointer<OperationSlot>
    let capacity: Int
    private let free: UnsafeMutablePointer<UInt32>
    private var freeCount: Int
    /// Operations with commands to issue.
    var pending = OperationList()
    /// Completions of this round, for the sink.
    let completions: UnsafeMutablePointer<IOCompletion>
    var completionCount = 0
    /// Completions that resume tasks; they are kept at the end of `completions`, the last one first.
    var awaitedCount = 0
    let namespaces: UnsafeMutablePointer<NamespaceSlot>
    let namespaceCapacity: Int
    var limits = TransferLimits()
    /// Operations are accepted: there is a connection, or one is expected.
    var isOpen = false
    /// Commands are issued: the connection is there and Connect has been answered.
    var isLive = false
    var defaultTimeoutMilliseconds: UInt32 = 0
    var retryRule = RetryRule()
    /// The queue pair's slot in its device group; `noSlot` without a connection.
    var queuePair = noSlot
    /// The device of the last connection that was good for I/O, as the group numbers it; -1 before the first one.
    var device = -1
    /// No operation's time is over, and none is to be done again, before this.
    var earliestDeadline = MonotonicTime.distantFuture
    /// Completions seen: the controller lives.
    var answers: UInt64 = 0

    /// Places that only commands of the control plane may take: Connect goes out while operations wait for it.
    private static let reserve = 8

    init(operations: Int, namespaces count: Int) {
        capacity = operations + OperationTable.reserve
        slots = .allocate(capacity: capacity)
        slots.initialize(repeating: OperationSlot(), count: capacity)
        free = .allocate(capacity: capacity)
        for index in 0..<capacity { free[index] = UInt32(capacity - 1 - index) }
        freeCount = capacity
        completions = .allocate(capacity: capacity)
        namespaces = .allocate(capacity: max(count, 1))
        namespaces.initialize(repeating: NamespaceSlot(), count: max(count, 1))
        namespaceCapacity = count
    }

    func deallocate() {
        slots.deallocate()
        free.deallocate()
        completions.deallocate()
        namespaces.deallocate()
    }

    /// Operations that are not free.
    @inline(__always) var inUse: Int { capacity - freeCount }

    /// Takes a place for an operation; for a command of the control plane one of the reserve, too.
    @inline(__always)
    mutating func take(forControl: Bool = false) -> UInt32? {
        guard freeCount > (forControl ? 0 : OperationTable.reserve) else { return nil }
        freeCount -= 1
        return free[freeCount]
    }

    @inline(__always)
    mutating func give(_ index: UInt32) {
        slots[Int(index)].state.move(to: .free)
        free[freeCount] = index
        freeCount += 1
    }

    /// Ends an operation: its completion is delivered at the end of the round.
    @inline(__always)
    mutating func complete(_ index: UInt32, _ outcome: IOOutcome, _ failure: IOFailure = .none) {
        let operation = slots + Int(index)
        operation.pointee.state.move(to: .completed)
        if operation.pointee.isAwaited {
            awaitedCount += 1
            completions[capacity - awaitedCount] = completion(operation, outcome, failure)
        } else {
            completions[completionCount] = completion(operation, outcome, failure)
            completionCount += 1
        }
        give(index)
    }

    @inline(__always)
    private func completion(
        _ operation: UnsafeMutablePointer<OperationSlot>, _ outcome: IOOutcome, _ failure: IOFailure
    ) -> IOCompletion {
        IOCompletion(
            tag: operation.pointee.tag, outcome: outcome, failure: failure, status: operation.pointee.status,
            result: operation.pointee.result)
    }
}
