import Base
import BlockInterface
import NVMeSpec
import TargetTransport

/// Compare and Write, a fused operation: two commands, one behind the other in the submission queue, of which the second is
/// done only where the first finds what it expects (NVMe Base, "Fused Operations"; NVM Command Set, "Compare and Write").
///
/// The first half waits for the second, which is the next command of its submission queue. If the next command is another
/// one, the half is answered with Command Aborted due to Missing Fused Command (NVMe Base, "Generic Command Status Values",
/// 0Ah); so is a half behind which nothing comes for `Limits.fusedMilliseconds`. The specification has no time limit, for a
/// queue in memory holds both halves when its doorbell is rung; capsules come one by one. A half that waits holds a request
/// and no receive buffer or data memory, and each queue has one at the most; it ends with Abort, and with its queue.
///
/// Both are then checked, get memory together and fetch their data side by side; they go to the block device as one request,
/// in the second half's name.
enum FusedHalves {
    /// The next step for a command that arrived.
    enum Arrival {
        /// It is no half.
        case alone
        /// It waits for the second half.
        case waits
        /// It is the second half of the one that waits.
        case pairs(RequestIndex)
        case refused(Status)
    }

    /// - Parameter first: the half that waits, if one does. Unless the command `pairs` with it, it is missing its other half.
    static func arrival(of operation: FusedOperation, after first: RequestIndex?) -> Arrival {
        switch operation {
        case .none: .alone
        case .first: .waits
        case .second: first.map { .pairs($0) } ?? .refused(.abortedMissingFused)
        case .reserved: .refused(.invalidField)
        }
    }

    /// Joins two halves, and looks at them. A half that is refused is answered, which separates them again.
    static func join(
        _ first: RequestIndex, _ second: RequestIndex, in requests: borrowing RequestTable
    ) -> JoinedHalves {
        requests[first].pair.join(second)
        requests[second].pair.join(first)
        guard requests[first].header.usesSGL, requests[first].header.nsid == requests[second].header.nsid,
            case .io(let compare) = requests[first].command, case .compare(let compared) = compare,
            case .io(let write) = requests[second].command, case .write(let written) = write,
            compared.startingLBA == written.startingLBA, compared.blockCount == written.blockCount
        else { return .refused(first) }
        guard requests[second].header.usesSGL else { return .refused(second) }
        return .good(compare, write)
    }

    /// The request of two halves together.
    enum JoinedHalves {
        case good(IOCommand, IOCommand)
        /// That half is wrong.
        case refused(RequestIndex)
    }

    /// A half has its data. Returns the second half, in whose name the operation begins, when both have.
    static func ready(_ index: RequestIndex, in requests: borrowing RequestTable) -> RequestIndex? {
        let partner = requests[index].pair.partner
        requests[index].pair.ready()
        guard requests[partner].pair.isReady else { return nil }
        return requests[index].header.fused == .second ? index : partner
    }

    /// The answers to the halves when the device has done the operation, or not.
    static func answers(_ status: BlockStatus) -> (first: Status, second: Status) {
        switch status {
        case .success: (.success, .success)
        // It was equal.
        case .writeFault, .capacityExceeded: (.success, Status(status, isRead: false))
        default: (Status(status, isRead: true), .abortedFailedFused)
        }
    }

    /// A half is answered, or ends: the other half is on its own from here on. Returns that half.
    static func separate(_ index: RequestIndex, in requests: borrowing RequestTable) -> RequestIndex? {
        guard let partner = requests[index].pair.partner.ifAny else { return nil }
        requests[index].pair.separate()
        requests[partner].pair.separate()
        return partner
    }

    /// The other half was answered with an error, and nothing of this one is under way. What is being fetched is answered when
    /// that has ended, and what waits for memory when it has got that.
    static func isIdle(_ request: RequestSlot) -> Bool {
        switch request.state {
        case .received: true
        case .executing: request.pair.isReady
        default: false
        }
    }
}
