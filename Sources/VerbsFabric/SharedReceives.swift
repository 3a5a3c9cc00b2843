import Base
import CVerbs
import FabricInterface
import Glibc

/// The buffers that are in a shared receive queue, so that one taken by a queue pair which was destroyed before its
/// completion was delivered goes back into the queue by itself. Otherwise each lost connection would take some buffers
/// along, and nobody would know whose they were: a failed completion does not even say that it was a receive.
///
/// The device sees our own number for each buffer; the caller's comes back when the completion is delivered.
struct SharedReceives: ~Copyable {
    private let requests: UnsafeMutablePointer<ReceiveRequest>
    private let free: UnsafeMutablePointer<UInt32>
    private var freeCount: Int
    private let capacity: Int

    /// Marks a work request id as a number of this table: callers' ids never have these bits all set.
    private static let mark: UInt64 = 0xFFFF << 48

    init(capacity: Int) {
        self.capacity = capacity
        requests = .allocate(capacity: max(capacity, 1))
        free = .allocate(capacity: max(capacity, 1))
        for index in 0..<capacity { (free + index).initialize(to: UInt32(capacity - 1 - index)) }
        freeCount = capacity
    }

    deinit {
        requests.deallocate()
        free.deallocate()
    }

    @inline(__always)
    static func isShared(_ id: UInt64) -> Bool { id >= mark }

    /// Enters a buffer that is about to be posted; returns it as the device gets it.
    @inline(__always)
    mutating func enter(_ request: ReceiveRequest) -> ReceiveRequest {
        invariant(freeCount > 0, "no more shared receives are posted than the queue has entries")
        freeCount -= 1
        let index = free[freeCount]
        (requests + Int(index)).initialize(to: request)
        return ReceiveRequest(id: Self.mark | UInt64(index), segment: request.segment)
    }

    /// Takes out a buffer whose completion is delivered; returns the caller's id.
    @inline(__always)
    mutating func leave(_ id: UInt64) -> UInt64 {
        let index = UInt32(truncatingIfNeeded: id)
        invariant(Int(index) < capacity, "the device returns the ids that it was given")
        free[freeCount] = index
        freeCount += 1
        return requests[Int(index)].id
    }

    /// The buffer as it was posted, to be posted once more.
    func request(_ id: UInt64) -> ReceiveRequest {
        let index = Int(UInt32(truncatingIfNeeded: id))
        invariant(index < capacity, "the device returns the ids that it was given")
        return ReceiveRequest(id: id, segment: requests[index].segment)
    }
}
