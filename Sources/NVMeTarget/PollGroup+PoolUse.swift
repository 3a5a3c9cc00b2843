import Base
import Buffers
import TargetTransport

/// Counts of what is taken and what is free in the pools of one port; for tests and simulations, which show that everything
/// comes back.
package struct PoolUse: Equatable, Sendable {
    package var freeRequests: Int
    /// Requests by what they are doing.
    package var requests: [RequestState: Int]
    /// The port's part of them.
    package var port: PortUse
    /// Connections that the engine knows.
    package var boundConnections: Int
    /// Data memory.
    package var bytesInUse: Int
    /// Capsules that wait for a request.
    package var lateCapsules: Int
    /// Somebody waits for data memory, or for room at a block device.
    package var awaitsBuffer: Bool
    package var awaitsBlock: Bool
}

extension PollGroup {
    /// The pools of each port that this group has met. Counts all requests: not for the I/O path.
    package var poolUse: [PoolUse] { engines.map(\.poolUse) }

    /// Controllers that connections of this group belong to, and the places of their table.
    package var heldControllers: Int { controllers.heldCount }
    package var controllerPlaces: Int { controllers.placeCount }
    /// Registrations of namespaces' own memory, which are kept for the next use; and reads that use them now.
    package var keptRegions: Int { engines.reduce(0) { $0 + $1.port.keptLoans } }
    package var loans: Int { engines.reduce(0) { $0 + $1.lending.count } }
    /// Subsystems that this group knows.
    package var heldViews: Int { views.count }
}

extension CommandEngine {
    fileprivate var poolUse: PoolUse {
        var states: [RequestState: Int] = [:]
        for index in requests.usedIndices where requests[index].state != .free {
            states[requests[index].state, default: 0] += 1
        }
        return PoolUse(
            freeRequests: requests.available, requests: states, port: port.use, boundConnections: bound.count,
            bytesInUse: data.counters.bytesInUse, lateCapsules: lateIO.count + lateControl.count,
            awaitsBuffer: !awaitingBuffer.isEmpty, awaitsBlock: !awaitingBlock.isEmpty)
    }
}
