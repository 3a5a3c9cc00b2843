import Base
import Memory

/// What is taken and what is free in the pools of one device group; for tests and simulations, which show that
/// everything comes back.
package struct PoolUse: Equatable, Sendable {
    package var freeRequests: Int
    /// Requests by what they are doing.
    package var requests: [RequestState: Int]
    package var freeQueuePairs: Int
    package var boundQueuePairs: Int
    /// Data memory.
    package var bytesInUse: Int
    /// Capsules that wait for a request.
    package var lateCapsules: Int
    /// Somebody waits for data memory, or for room at a block device.
    package var awaitsBuffer: Bool
    package var awaitsBlock: Bool
}

extension PollGroup {
    /// The pools of each device that this group has met. Counts all requests: not for the I/O path.
    package var poolUse: [PoolUse] { devices.map(\.poolUse) }

    /// Controllers that queue pairs of this group belong to, and the places of their table.
    package var heldControllers: Int { controllers.count { $0 != nil } }
    package var controllerPlaces: Int { controllers.count }
    /// Registrations of namespaces' own memory, which are kept for the next use; and reads that use them now.
    package var keptRegions: Int { devices.reduce(0) { $0 + ($1.registrations?.count ?? 0) } }
    package var loans: Int { devices.reduce(0) { $0 + $1.loans } }
    /// Subsystems that this group knows.
    package var heldViews: Int { views.count }
}

extension DeviceGroup {
    fileprivate var poolUse: PoolUse {
        var states: [RequestState: Int] = [:]
        for index in 0..<UInt32(requests.usedCount) where requests[index].pointee.state != .free {
            states[requests[index].pointee.state, default: 0] += 1
        }
        return PoolUse(
            freeRequests: requests.available, requests: states, freeQueuePairs: queuePairs.available,
            boundQueuePairs: boundSlots.count, bytesInUse: data.counters.bytesInUse,
            lateCapsules: lateIO.count + lateControl.count,
            awaitsBuffer: !awaitingBuffer.isEmpty, awaitsBlock: !awaitingBlock.isEmpty)
    }
}
