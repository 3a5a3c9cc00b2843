import Base
import NVMeSpec
import TargetInterface
import TargetTransport

/// A target's transport within one process: hosts are objects, and what they send is there in the next round. It has no
/// fabric, no thread and no clock: engines are tested on it, and it shows what a transport is.
public final class InProcessTransport: TargetTransport {
    let port: InProcessPort
    private var notices: [ConnectionNotice] = []
    private var pending: [UInt64: InProcessQueue] = [:]
    private var nextNumber: UInt64 = 1
    /// The addresses that the target listens at, in the order in which it began to.
    public private(set) var listeners: [SocketAddress] = []
    private var listenerNumbers: [SocketAddress: ListenerNumber] = [:]
    /// Addresses that are not there.
    public var absent: Set<SocketAddress> = []

    /// - Parameter connections: how many it can have at once.
    public init(_ options: TargetOptions, connections: Int = TargetOptions.connections) {
        port = InProcessPort(options, connections: connections)
    }

    /// A host asks for a queue. It is open when the target has been polled.
    ///
    /// - Parameters:
    ///   - localAddress: the address of the target that the host has used.
    ///   - node: the NUMA node of the device that it comes over.
    public func connect(
        queueID: UInt16, entries: UInt32, localAddress: SocketAddress? = nil, node: Int? = nil
    ) -> InProcessQueue {
        let queue = InProcessQueue(self, queueID: queueID)
        let origin = ConnectionOrigin(queueID: queueID, entries: entries, localAddress: localAddress, node: node)
        pending[nextNumber] = queue
        notices.append(.requested(PendingConnection(number: nextNumber, origin: origin)))
        queue.origin = origin
        nextNumber += 1
        return queue
    }

    func disconnect(_ queue: InProcessQueue) {
        if let connection = queue.connection { notices.append(.ended(PortIndex(position: 0), connection)) }
    }

    /// An address of the target's machine is gone, and what listened there.
    public func remove(_ address: SocketAddress) {
        absent.insert(address)
        guard let number = listenerNumbers.removeValue(forKey: address) else { return }
        listeners.removeAll { $0 == address }
        notices.append(.listenerLost(number))
    }

    /// Fetches and answers wait while this is set, as for room in a send queue.
    public var isFull: Bool {
        get { port.isFull }
        set { port.isFull = newValue }
    }

    public func nextNotice(now: MonotonicTime) -> ConnectionNotice? { notices.isEmpty ? nil : notices.removeFirst() }

    public func accept(_ connection: PendingConnection, now: MonotonicTime) {
        if let queue = pending.removeValue(forKey: connection.number) { accept(queue) }
    }

    private func accept(_ queue: InProcessQueue) {
        guard let origin = queue.origin else { return }
        queue.transport = self
        guard let index = port.bind(queue) else {
            notices.append(.refused(peer: origin.peer, reason: "no connection is free"))
            return
        }
        notices.append(.opened(PortIndex(position: 0), index, origin))
    }

    /// A queue on its way to the transport of another poll group.
    ///
    /// Unchecked: one thread polls all groups of a test.
    private struct Ticket: TransportTicket, @unchecked Sendable { let queue: InProcessQueue? }

    public func handOver(_ connection: PendingConnection) -> any TransportTicket {
        Ticket(queue: pending.removeValue(forKey: connection.number))
    }

    public func adopt(_ ticket: any TransportTicket, now: MonotonicTime) {
        if let queue = (ticket as? Ticket)?.queue { accept(queue) }
    }

    public var ports: [any TransportPort] { [port] }
    public var connectionCounts: ConnectionCounts { port.connectionCounts }
    public var noticeDescriptor: Int32 { -1 }
    public var descriptors: [Int32] { [] }
    public var descriptorGeneration: UInt64 { 0 }

    public func listen(at address: SocketAddress) throws(TercetError) -> ListenerNumber {
        if absent.contains(address) { throw TercetError(.unavailable, "there is no such address") }
        let number = ListenerNumber(value: nextNumber)
        nextNumber += 1
        listeners.append(address)
        listenerNumbers[address] = number
        return number
    }
    public func stopListening(_ listener: ListenerNumber) {
        guard let (address, _) = listenerNumbers.first(where: { $0.value == listener }) else { return }
        listenerNumbers[address] = nil
        listeners.removeAll { $0 == address }
    }
    public func forget(_ memory: UnsafeMutableRawBufferPointer) {}
    public func tick(now: MonotonicTime) {}
    public func armNotifications() {}
    public func acknowledgeNotifications() {}
    public func acknowledgeNotification(_ descriptor: Int32) -> Bool { false }
    public func endConnections() {}
    public func close() {}
}

/// One queue of a host.
public final class InProcessQueue {
    public let queueID: UInt16
    unowned var transport: InProcessTransport
    var origin: ConnectionOrigin?
    public internal(set) var connection: ConnectionIndex?
    /// The target has ended it.
    public internal(set) var isClosed = false
    public internal(set) var answers: [InProcessAnswer] = []
    /// The host's memory for the data of commands that have not been answered, by the commands' identifiers.
    var rooms: [UInt16: [UInt8]] = [:]

    init(_ transport: InProcessTransport, queueID: UInt16) {
        self.transport = transport
        self.queueID = queueID
    }

    /// Sends the 64 bytes of a submission queue entry. What its data pointer says is not looked at: `data` counts.
    public func send(_ entry: [UInt8], _ data: InProcessData = .none) { transport.port.send(entry, data, on: self) }

    /// The identifier of the command in a submission queue entry: bytes 2 and 3.
    static func commandID(of entry: [UInt8]) -> UInt16 { UInt16(entry[2]) | UInt16(entry[3]) << 8 }

    /// An answer has come: a completion queue entry, which has the command's identifier in bytes 12 and 13, and data.
    func take(_ entry: [UInt8], _ data: UnsafeRawBufferPointer?) {
        var room = rooms.removeValue(forKey: UInt16(entry[12]) | UInt16(entry[13]) << 8) ?? []
        let data = data ?? UnsafeRawBufferPointer(start: nil, count: 0)
        if room.count == data.count {
            room.withUnsafeMutableBytes { $0.copyMemory(from: data) }
        } else {
            room = Array(data)
        }
        answers.append(InProcessAnswer(entry: entry, data: room))
    }

    /// The host goes away.
    public func disconnect() { transport.disconnect(self) }
}

/// The data of a command.
public enum InProcessData: Sendable {
    case none
    /// The host has them for the target to fetch.
    case fromHost([UInt8])
    /// The host has room for so many bytes.
    case toHost(Int)
    /// They come with the command.
    case inCapsule([UInt8])
    /// A data pointer that a transport does not take.
    case invalid(Status)
}

/// An answer as its host got it.
public struct InProcessAnswer: Sendable {
    /// The completion queue entry.
    public var entry: [UInt8]
    public var data: [UInt8]

    public init(entry: [UInt8], data: [UInt8]) { (self.entry, self.data) = (entry, data) }
}
