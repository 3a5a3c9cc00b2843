import Base
import InitiatorTransport
import Trace

/// The connections of a group: which queue each serves, and who waits for it to be made or to end.
struct GroupConnections {
    /// A connection that is being made.
    struct Opening {
        var connection: HostConnectionIndex
        var address: SocketAddress
        var deadline: MonotonicTime
        var queue: IOQueue
        var failed: (String) -> Void
        var continuation: CheckedContinuation<Result<HostConnectionIndex, InitiatorError>, Never>
    }

    /// By connection; a queue lives longer than its connection. Not counted: it is looked up for each answer.
    private var queues: [Unmanaged<IOQueue>?]
    /// Told, once, that a connection is of no use any more.
    private var failureHandlers: [HostConnectionIndex: (String) -> Void] = [:]
    /// In the order in which they were begun.
    private var openings: [Opening] = []
    private var closings: [HostConnectionIndex: CheckedContinuation<Void, Never>] = [:]

    init(capacity: Int) { queues = Array(repeating: nil, count: capacity) }

    /// Connections are being made.
    var hasOpenings: Bool { !openings.isEmpty }

    var isSettled: Bool { openings.isEmpty && closings.isEmpty }

    var nextDeadline: MonotonicTime { openings.reduce(.distantFuture) { min($0, $1.deadline) } }

    /// The queue that a connection serves.
    @inline(__always)
    func queue(_ connection: HostConnectionIndex) -> Unmanaged<IOQueue>? { queues[connection.offset] }

    mutating func add(_ opening: Opening) { openings.append(opening) }

    /// Takes out the opening of a connection that has been made, or has not.
    mutating func takeOpening(_ connection: HostConnectionIndex) -> Opening? {
        openings.firstIndex { $0.connection == connection }.map { openings.remove(at: $0) }
    }

    /// Takes out the openings whose time is over.
    mutating func takeLateOpenings(_ now: MonotonicTime) -> [Opening] {
        let late = openings.filter { $0.deadline <= now }
        openings.removeAll { $0.deadline <= now }
        return late
    }

    mutating func opened(_ opening: Opening) {
        queues[opening.connection.offset] = Unmanaged.passUnretained(opening.queue)
        failureHandlers[opening.connection] = opening.failed
    }

    mutating func takeFailureHandler(_ connection: HostConnectionIndex) -> ((String) -> Void)? {
        failureHandlers.removeValue(forKey: connection)
    }

    mutating func closes(_ connection: HostConnectionIndex, _ continuation: CheckedContinuation<Void, Never>) {
        closings[connection] = continuation
    }

    /// A connection is gone. Returns who waits for that.
    mutating func ended(_ connection: HostConnectionIndex) -> CheckedContinuation<Void, Never>? {
        queues[connection.offset] = nil
        failureHandlers[connection] = nil
        return closings.removeValue(forKey: connection)
    }
}

/// How connections come and go.
extension InitiatorGroup {
    /// Makes a connection for a queue. On this group's executor.
    ///
    /// - Parameter failed: called on the group's thread when the connection has failed; it is to be closed then.
    func openConnection(
        _ request: HostConnectionRequest, for queue: IOQueue, failed: @escaping (String) -> Void
    ) async throws(InitiatorError) -> HostConnectionIndex {
        let result = await withCheckedContinuation { continuation in
            do throws(ConnectionFailure) {
                connections.add(
                    GroupConnections.Opening(
                        connection: try transport.connect(request), address: request.address,
                        deadline: now.advanced(byMilliseconds: UInt64(request.timeoutMilliseconds)), queue: queue,
                        failed: failed, continuation: continuation))
            } catch {
                continuation.resume(returning: .failure(InitiatorError(error, request.address)))
            }
        }
        return try result.get()
    }

    /// Ends a connection and waits until nobody reaches memory through it. On this group's executor.
    func closeConnection(_ connection: HostConnectionIndex) async {
        _ = connections.takeFailureHandler(connection)
        // Collected capsules leave first.
        sendCapsules()
        await withCheckedContinuation {
            connections.closes(connection, $0)
            transport.close(connection)
        }
    }

    /// A connection is of no use any more.
    func connectionFailed(_ connection: HostConnectionIndex, _ reason: String) {
        guard let failed = connections.takeFailureHandler(connection) else { return }
        connections.queue(connection)?.takeUnretainedValue().engine.connectionFailed()
        failed(reason)
    }

    func handle(_ event: HostConnectionEvent) {
        switch event {
        case .connected(let connection, let commands):
            guard let opening = connections.takeOpening(connection) else { return }
            trace.record(.connectionEstablished, connection.position, 0)
            connections.opened(opening)
            opening.queue.engine.connected(connection, commands: commands)
            opening.continuation.resume(returning: .success(connection))
        case .refused(let connection, let failure):
            trace.record(.connectionRefused, connection.position, 0)
            guard let opening = connections.takeOpening(connection) else { return }
            opening.continuation.resume(returning: .failure(InitiatorError(failure, opening.address)))
        case .failed(let connection, let reason): connectionFailed(connection, reason)
        case .ended(let connection):
            trace.record(.connectionEnded, connection.position, 0)
            connections.ended(connection)?.resume()
        }
    }

    /// Gives up connections that were not made in time.
    func expireOpenings(_ now: MonotonicTime) {
        for opening in connections.takeLateOpenings(now) {
            transport.close(opening.connection)
            opening.continuation.resume(returning: .failure(.timeout("connection to \(opening.address)")))
        }
    }
}

extension InitiatorError {
    /// Why there is no connection to an address.
    init(_ failure: ConnectionFailure, _ address: SocketAddress) {
        self =
            switch failure {
            case .call(let error): .transport(error)
            case .absent: .absent(address: address)
            case .refused(let reason): .rejected(address: address, reason: reason)
            case .lost(let reason): .connectionLost(reason)
            case .invalidReply(let what): .invalidResponse(what)
            case .resources(let what): .resources(what)
            }
    }
}
