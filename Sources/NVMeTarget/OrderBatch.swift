import Base
import TargetTransport

/// Orders for a port, collected during a round and carried out at its end. Nothing is allocated after `init`; what does not fit
/// goes early.
struct OrderBatch: ~Copyable {
    private let port: any TransportPort
    private let orders: UnsafeMutableBufferPointer<TransportOrder>
    private var count = 0

    init(_ port: any TransportPort) {
        self.port = port
        orders = .allocate(capacity: Limits.orderBatch)
    }

    deinit { orders.deallocate() }

    @inline(__always)
    mutating func append(_ order: TransportOrder, now: MonotonicTime) {
        if _slowPath(count == orders.count) { carry(now: now) }
        orders[count] = order
        count += 1
    }

    /// Hands the port what there is. At the end of a round without orders too: the port's own events and timers may have left
    /// it work to post.
    mutating func carry(now: MonotonicTime) {
        let carried = UnsafeBufferPointer(rebasing: orders[..<count])
        count = 0
        port.carry(carried, now: now)
    }
}
