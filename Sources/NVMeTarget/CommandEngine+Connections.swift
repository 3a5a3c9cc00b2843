import Base
import NVMeSpec
import TargetTransport

/// Connections: taken up when the port has opened them, given back when nothing refers to them any more.
extension CommandEngine {
    /// The port has opened a connection.
    func opened(_ connection: ConnectionIndex, _ origin: ConnectionOrigin, now: MonotonicTime) {
        var slot = ConnectionSlot()
        slot.generation = connections[connection].generation &+ 1
        slot.state.move(to: .live)
        slot.awaitsConnectSince = now
        slot.queueID = origin.queueID
        slot.entries = origin.entries
        connections[connection] = slot
        origins[connection.offset] = origin
        bound.append(connection)
    }

    /// Takes a connection to its end: no more answers; what waits ends now, what runs ends when it comes back. The poll group
    /// frees the slot when no request refers to it.
    func close(_ connection: ConnectionIndex) {
        guard connections[connection].state == .live else { return }
        connections[connection].state.move(to: .closing)
        order(.close(connection))
        lateIO.removeAll(of: connection, giveBack)
        lateControl.removeAll(of: connection, giveBack)
        if !connections[connection].firstHalf.isNone { end(connections[connection].firstHalf) }
        for index in requests.usedIndices where requests[index].connection == connection {
            switch requests[index].state {
            case .held: end(index)
            case .awaitingBuffer where awaitingBuffer.remove(index, in: requests): end(index)
            case .executing where awaitingBlock.remove(index, in: requests): end(index)
            default: break
            }
        }
        if connections[connection].requests == 0 { drained(connection) }
    }

    /// A closing connection has no request any more.
    func drained(_ connection: ConnectionIndex) {
        guard !connections[connection].isDrained else { return }
        connections[connection].isDrained = true
        owner.connectionDrained(connection, in: self)
    }

    /// Frees a drained connection's slot: its index is the port's again.
    func release(_ connection: ConnectionIndex) {
        connections[connection].state.move(to: .free)
        connections[connection].generation &+= 1
        origins[connection.offset] = nil
        bound.removeAll { $0 == connection }
        order(.release(connection))
    }

    /// The host has not sent Connect for so long that it is not waited for.
    func isOverdue(_ connection: ConnectionIndex, now: MonotonicTime) -> Bool {
        connections[connection].state == .live && connections[connection].role == .unconnected
            && now >= connections[connection].awaitsConnectSince.advanced(byMilliseconds: Limits.connectMilliseconds)
    }
}
