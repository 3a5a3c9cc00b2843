import Base
import NVMeSpec
import TargetTransport

/// Counts of a host's commands, and of a namespace's reads and writes. An answer costs the time that the round has anyway and one
/// addition for each number: the namespace's place is known since the command began, and nothing is looked up.
extension CommandEngine {
    /// Changes a counter of the host that a request is of.
    @inline(__always)
    func count(_ index: RequestIndex, _ change: (inout Statistics) -> Void) {
        connections[requests[index].connection].statistics?.update(change)
    }

    /// A read or a write begins, or with `nil` another command: it is counted at this place of its subsystem's namespaces if it
    /// succeeds.
    @inline(__always)
    func willCount(_ index: RequestIndex, at place: UnsafeMutablePointer<NamespacePlace>?) {
        requests[index].counted = place
    }

    /// A read has succeeded and is answered.
    @inline(__always)
    func countRead(_ index: RequestIndex, _ connection: ConnectionIndex, at place: UnsafeMutablePointer<NamespacePlace>)
    {
        let nanoseconds = now.nanoseconds &- requests[index].arrival.nanoseconds
        let bytes = UInt64(requests[index].transfer.byteCount)
        place.pointee.counters.countRead(bytes, nanoseconds)
        connections[connection].statistics.unsafelyUnwrapped.countRead(bytes, nanoseconds)
    }

    /// A write has succeeded and is answered.
    @inline(__always)
    func countWrite(
        _ index: RequestIndex, _ connection: ConnectionIndex, at place: UnsafeMutablePointer<NamespacePlace>
    ) {
        let nanoseconds = now.nanoseconds &- requests[index].arrival.nanoseconds
        let bytes = UInt64(requests[index].transfer.byteCount)
        place.pointee.counters.countWrite(bytes, nanoseconds)
        connections[connection].statistics.unsafelyUnwrapped.countWrite(bytes, nanoseconds)
    }

    /// A command is answered that is neither a read nor a write, or that has failed. Those of other queues than I/O queues are not
    /// counted.
    @inline(never)
    func countOther(_ index: RequestIndex) {
        let connection = requests[index].connection
        guard connections[connection].role == .io else { return }
        let nanoseconds = now.nanoseconds(since: requests[index].arrival)
        let isSuccess = requests[index].outcome.status.isSuccess
        count(index) { counters in
            counters.otherNanoseconds &+= nanoseconds
            if isSuccess { counters.otherCommands &+= 1 } else { counters.failedCommands &+= 1 }
        }
        if !isSuccess { connections[connection].namespaces.count(requests[index].header.nsid) { $0.failed &+= 1 } }
    }
}
