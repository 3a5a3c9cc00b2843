import Base
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

extension CommandEngine {
    var poolUse: PoolUse {
        var states: [RequestState: Int] = [:]
        for index in requests.usedIndices where requests[index].state != .free {
            states[requests[index].state, default: 0] += 1
        }
        return PoolUse(
            freeRequests: requests.available, requests: states, port: port.use,
            boundConnections: bound.indices.count, bytesInUse: memory.bytesInUse, lateCapsules: capsules.lateCount,
            awaitsBuffer: !memory.waiting.isEmpty, awaitsBlock: !blockIO.waiting.isEmpty)
    }
}
