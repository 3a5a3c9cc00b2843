import Base
import NVMeSpec
import TargetTransport

/// The life of a request, from the arrival of its capsule to the end of its answer.
package enum RequestState: UInt8, BitwiseCopyable {
    case free
    /// The capsule has arrived and has not been looked at.
    case received
    /// Waits for memory of the data pool.
    case awaitingBuffer
    /// The transport fetches the host's data.
    case fetching
    /// At the block device, or with the controller.
    case executing
    /// An Asynchronous Event Request, which waits for an event.
    case held
    /// The transport answers.
    case answering

    /// Whether the state may follow this one. What is not listed here is a bug and traps.
    @inline(__always)
    private func mayBecome(_ next: RequestState) -> Bool {
        switch next {
        case .free: self != .free
        case .received: self == .free
        case .awaitingBuffer: self == .received
        case .fetching: self == .received || self == .awaitingBuffer
        case .executing: self == .received || self == .awaitingBuffer || self == .fetching
        case .held: self == .executing
        case .answering: self != .free && self != .answering
        }
    }

    /// The one place where a request changes its state.
    @inline(__always)
    mutating func move(to next: RequestState) {
        invariant(mayBecome(next), "a request makes only the listed transitions")
        self = next
    }
}

/// The requests of one port.
typealias RequestTable = SlotTable<RequestIndex, RequestSlot>

/// A command that the target works on. Plain data: nothing here is counted or freed.
struct RequestSlot: ListedSlot {
    var state = RequestState.free
    var connection = ConnectionIndex.none
    /// The next request in whatever list this one waits in.
    var next = RequestIndex.none
    /// When the capsule was polled, for the latency counters.
    var arrival = MonotonicTime(nanoseconds: 0)
    var header = CommandHeader()
    var command = TargetCommand.none
    var capsule = HeldCapsule()
    var transfer = DataTransfer()
    var block = BlockProgress()
    var pair = FusedPair()
    var outcome = Outcome()
    /// The place of the namespace that a read or write is counted for if it succeeds.
    var counted: UnsafeMutablePointer<NamespacePlace>? = nil

    /// How the command ended.
    struct Outcome: BitwiseCopyable {
        /// Result of the command: completion queue entry, dwords 0 and 1.
        var result: UInt64 = 0
        /// The worst that a block operation said; then what the host is answered.
        var status = Status.success
        /// SQHD where the queue has no flow control: FFFFh in the answer to Connect, else 0 (NVMe-oF, SQ flow control).
        var headOverride: UInt16 = 0
    }
}

/// The fields that commands have in common.
struct CommandHeader: BitwiseCopyable {
    var nsid: UInt32 = 0
    var commandID: UInt16 = 0
    var fused = FusedOperation.none
    /// PSDT says that the data is described by an SGL.
    var usesSGL = false
    /// Data goes from the host to the controller.
    var sendsData = false

    init() {}

    @inline(__always)
    init(_ entry: SubmissionEntry) {
        nsid = entry.nsid
        commandID = entry.commandID
        fused = entry.fusedOperation
        usesSGL = entry.usesSGL
        sendsData = entry.sendsData
    }

    @inline(__always)
    var isFused: Bool { fused != .none }
}

/// A command, decoded once, as its queue reads it.
enum TargetCommand: BitwiseCopyable {
    case none
    case io(IOCommand)
    case admin(AdminCommand)
    case fabrics(FabricsCommand)

    @inline(__always)
    init(_ entry: SubmissionEntry, on role: QueueRole) {
        if _slowPath(entry.opcode == FabricsCommandType.opcode) {
            self = .fabrics(FabricsCommand(entry))
        } else {
            switch role {
            case .io: self = .io(IOCommand(entry))
            case .admin: self = .admin(AdminCommand(entry))
            case .unconnected, .authenticating: self = .none
            }
        }
    }
}
