import TargetTransport

/// Connections that failed: those that the engine has not been told of, and how all of them did.
struct ConnectionFailures {
    private var reasons: [ConnectionIndex: String] = [:]
    private var unreported: [ConnectionIndex] = []

    var isEmpty: Bool { unreported.isEmpty }

    mutating func record(_ connection: ConnectionIndex, _ reason: String) { reasons[connection] = reason }

    /// Lets the next poll tell of a failure.
    mutating func report(_ connection: ConnectionIndex) { unreported.append(connection) }

    mutating func next() -> ConnectionIndex? { unreported.popLast() }

    func reason(of connection: ConnectionIndex) -> String { reasons[connection] ?? "the connection was lost" }

    mutating func forget(_ connection: ConnectionIndex) {
        reasons[connection] = nil
        unreported.removeAll { $0 == connection }
    }
}
