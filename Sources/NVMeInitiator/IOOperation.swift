import InitiatorTransport
import NVMeSpec

/// The command that an operation stands for (NVM Command Set, "NVM Commands").
public enum IOKind: UInt8, Sendable, BitwiseCopyable {
    case read
    case write
    case flush
    case compare
    case writeZeroes
    case verify
    /// Compare with `data`, and where equal write `second`: a fused operation, never split.
    case compareAndWrite
    /// Dataset Management, Deallocate; `data` holds `blockCount` ranges of 16 bytes.
    case deallocate
}

/// Modifiers of an operation.
public struct IOFlags: OptionSet, Sendable, BitwiseCopyable {
    public let rawValue: UInt8
    @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Force Unit Access: a write is on stable media when it completes.
    @inlinable public static var forceUnitAccess: IOFlags { IOFlags(rawValue: 1 << 0) }
    /// Write Zeroes may deallocate (DEAC); heeded where the namespace lets it (DLFEAT bit 3).
    @inlinable public static var mayDeallocate: IOFlags { IOFlags(rawValue: 1 << 1) }
}

/// One operation for an `IOQueue`: of any length, it is split into commands that the controller takes.
public struct IOOperation: BitwiseCopyable, @unchecked Sendable {
    // Unchecked: a value; the memory that it points to belongs to the operation until its completion.
    public var kind: IOKind
    public var flags: IOFlags
    /// Index into the controller's namespaces, as `Controller.namespaces` has them.
    public var namespace: Int
    public var startingLBA: UInt64
    /// Logical blocks; for `deallocate` the number of ranges, 1 to 256.
    public var blockCount: UInt64
    /// The memory, one piece or several; must last until the operation completes, the list of pieces too.
    public var segments: UnsafePointer<IOSegment>?
    public var segmentCount: Int
    /// The memory where it is one piece; used when `segments` is `nil`.
    public var data: IOSegment?
    /// The data that `compareAndWrite` writes.
    public var second: IOSegment?
    /// Comes back with the completion.
    public var tag: UInt64
    /// Time until the operation is given up and the association ended, in milliseconds; 0 for the queue's default.
    public var timeoutMilliseconds: UInt32

    @inlinable
    public init(
        _ kind: IOKind, namespace: Int = 0, startingLBA: UInt64 = 0, blockCount: UInt64 = 0, data: IOSegment? = nil,
        second: IOSegment? = nil, flags: IOFlags = [], tag: UInt64 = 0, timeoutMilliseconds: UInt32 = 0
    ) {
        self.kind = kind
        self.flags = flags
        self.namespace = namespace
        self.startingLBA = startingLBA
        self.blockCount = blockCount
        self.segments = nil
        self.segmentCount = 0
        self.data = data
        self.second = second
        self.tag = tag
        self.timeoutMilliseconds = timeoutMilliseconds
    }

    /// An operation on scattered memory.
    @inlinable
    public init(
        _ kind: IOKind, namespace: Int = 0, startingLBA: UInt64, blockCount: UInt64,
        segments: UnsafeBufferPointer<IOSegment>, flags: IOFlags = [], tag: UInt64 = 0, timeoutMilliseconds: UInt32 = 0
    ) {
        self.init(
            kind, namespace: namespace, startingLBA: startingLBA, blockCount: blockCount, flags: flags, tag: tag,
            timeoutMilliseconds: timeoutMilliseconds)
        self.segments = segments.baseAddress
        self.segmentCount = segments.count
    }
}

/// Whether an operation's effect is known.
public enum IOOutcome: UInt8, Sendable, BitwiseCopyable {
    /// The controller answered: it did what `IOCompletion.status` says.
    case surelyDone
    /// No command left this host: the operation has had no effect and never will have one.
    case surelyNotDone
    /// Commands left and were not answered: they may have been executed, wholly or in part, or may still be executed by
    /// the controller until its association is known to have ended there.
    case unknown
}

/// Why an operation was not answered.
public enum IOFailure: UInt8, Sendable, BitwiseCopyable {
    case none
    /// The connection was lost, and the controller's recovery policy does not repeat operations, or gave up.
    case connectionLost
    /// The operation's time was over.
    case timeout
    /// The controller was closed.
    case closed
    /// The namespace has another block size than the operation was made for.
    case namespaceChanged
    /// `perform` only: what `submit` says as `notConnected`, `full`, `invalid` and `unsupported`.
    case notConnected
    case full
    case invalid
    case unsupported
}

/// How an operation ended.
public struct IOCompletion: BitwiseCopyable, Sendable {
    public var tag: UInt64
    public var outcome: IOOutcome
    public var failure: IOFailure
    /// The controller's answer, the worst where there were several; meaningful with `surelyDone`.
    public var status: Status
    /// Dwords 0 and 1 of the controller's last answer.
    public var result: UInt64

    /// The operation did all that it was to do.
    @inlinable public var isSuccess: Bool { outcome == .surelyDone && status.isSuccess }

    /// Why it is no success, in words for a user; `nil` where it is one.
    public var problem: String? {
        switch outcome {
        case .surelyDone: status.isSuccess ? nil : "\(status)"
        case .surelyNotDone: "not done: \(failure)"
        case .unknown: "\(failure): whether it was done is not known"
        }
    }
}

/// The answer of `IOQueue.submit`.
public enum SubmitResult: Sendable, BitwiseCopyable {
    /// A completion will follow.
    case accepted
    /// The queue has as many operations as it holds: wait for completions.
    case full
    /// There is no connection and the queue does not wait for one. Nothing was done.
    case notConnected
    /// The operation is not one that can be done: wrong namespace, range, or lengths that do not fit.
    case invalid
    /// The controller does not offer what the operation needs (ONCS, FUSES). Nothing was done.
    case unsupported
}

/// Takes the completions of an `IOQueue`; one call for all of a poll round, on the reactor's thread.
///
/// An abstract class and not a closure: nothing is counted or allocated for each I/O.
open class CompletionSink {
    public init() {}
    /// Operations have completed. New ones may be submitted from here.
    open func completed(_ completions: UnsafeBufferPointer<IOCompletion>) {}
}

extension IOFailure: CustomStringConvertible {
    /// For people.
    public var description: String {
        switch self {
        case .none: "nothing failed"
        case .connectionLost: "the connection was lost"
        case .timeout: "no answer in time"
        case .closed: "the controller was closed"
        case .namespaceChanged: "the namespace has another block size now"
        case .notConnected: "there is no connection"
        case .full: "the queue is full"
        case .invalid: "the range or the lengths do not fit the namespace"
        case .unsupported: "the controller does not offer this command"
        }
    }
}
