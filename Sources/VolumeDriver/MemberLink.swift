import Base
import InitiatorTransport
import Memory
import NVMeInitiator
import NVMeSpec
import Replication

/// The connection to one member: its controller while there is one, and what the volume's memory is called there.
///
/// Belongs to the group's thread.
final class MemberLink: CompletionSink, @unchecked Sendable {
    // Unchecked: the group's thread alone uses it.
    let index: MemberIndex
    /// The address for the next connection.
    var address: MemberAddress
    /// Raised with each connection that is asked for: news of an earlier one are recognised.
    var attempt: UInt64 = 0
    var controller: Controller?
    /// The association as the engine knows it; 0 without one.
    var association: UInt64 = 0
    var lastAssociation: UInt64 = 0
    /// Its place in the controller's namespaces.
    var namespace = 0
    /// Keys of the engine's memory on this member's device.
    var keys = TransferKeys()
    /// Zeroes to write where the member's target has no Write Zeroes; `nil` where it has.
    var zeroes: IOSegment?
    /// The number that the user's memory has for the device.
    var device = 0
    /// The run of the target that the last association was with; 0 or 1 where the target does not tell.
    var run: UInt64 = 0
    /// The namespace that the association was made for; another one in its place needs a new association.
    var identity: NamespaceIdentity?
    /// CNTLID of the last association, for the target to make sure that its commands are over.
    var controllerID: UInt16?
    /// Commands that have not completed.
    var outstanding = 0
    /// Commands that have.
    private(set) var completed: UInt64 = 0
    /// The association has ended: the engine is told when all completions have been delivered.
    var isEnding = false
    /// When the last association ended.
    var endedAt = MonotonicTime(nanoseconds: 0)
    /// When the commands of earlier associations are surely dead, and the engine has not been told.
    var deadAt = MonotonicTime.distantFuture
    /// The target's last objection to a reservation, for people.
    var reservationProblem = ""
    /// Why the last attempt or association ended, for people.
    var reason = ""
    private let inbox: CompletionInbox

    init(_ index: MemberIndex, _ address: MemberAddress, inbox: CompletionInbox) {
        self.index = index
        self.address = address
        self.inbox = inbox
        super.init()
    }

    override func completed(_ completions: UnsafeBufferPointer<IOCompletion>) {
        completed &+= UInt64(completions.count)
        for completion in completions {
            outstanding -= 1
            inbox.append(MemberCompletion(tag: completion.tag, status: MemberStatus(completion)))
        }
    }
}

/// The facts that tell a namespace from another one with the same identifier.
struct NamespaceIdentity: Equatable, Sendable {
    private let uuid: UUIDBytes?
    private let nguid: UUIDBytes
    private let eui64: UInt64
    /// The opening of its device, where the target tells.
    let instance: UInt64?

    init(_ namespace: NamespaceDescription) {
        uuid = namespace.descriptors?.uuid
        nguid = namespace.identify.nguid
        eui64 = namespace.identify.eui64
        instance = namespace.instance
    }
}

/// Completions of members on their way to the engine: filled while the initiator is polled, emptied right after.
final class CompletionInbox {
    private(set) var values: UnsafeMutableBufferPointer<MemberCompletion>
    private(set) var count = 0

    init(capacity: Int) { values = .allocate(capacity: capacity) }

    deinit { values.deallocate() }

    func append(_ completion: MemberCompletion) {
        invariant(count < values.count, "the engine has no more commands under way than it can have")
        values[count] = completion
        count += 1
    }

    /// The completions that have arrived; the call takes them.
    func take() -> UnsafeBufferPointer<MemberCompletion> {
        let taken = UnsafeBufferPointer(rebasing: values[..<count])
        count = 0
        return taken
    }
}

extension MemberStatus {
    /// The meaning of a controller's answer, or of its absence, to the volume.
    init(_ completion: IOCompletion) {
        switch completion.outcome {
        // A command that never left is not repeated on this association either: it is ending.
        case .unknown, .surelyNotDone: self = .unknown
        case .surelyDone: self.init(completion.status)
        }
    }

    init(_ status: Status) {
        switch status {
        case .success: self = .success
        case .reservationConflict, .abortedPreemptAndAbort: self = .reservationConflict
        case .capacityExceeded: self = .noSpace
        case _ where status.matches(.compareFailure): self = .miscompare
        case _ where status.matches(.commandInterrupted) || status.matches(.namespaceNotReady):
            self = status.isDoNotRetry ? .pathError : .busy
        case _ where status.isPathError: self = .pathError
        default: self = .mediaError
        }
    }
}
