import Base
import CLinux
import CVerbs
import FabricInterface
import Glibc
import Synchronization

/// The connection manager of one reactor, over librdmacm.
///
/// What RDMA CM keeps for us with an identifier is a number, never an address of ours: an event that comes after its
/// connection is gone finds no entry and is dropped. Numbers are unique in the process, so that one which another
/// reactor adopted at the same moment is not taken for one of ours.
public final class VerbsFabric: Fabric {
    let channel: UnsafeMutablePointer<rdma_event_channel>
    var connections: [ConnectionHandle: Connection] = [:]
    var listeners: [ListenerHandle: UnsafeMutablePointer<rdma_cm_id>] = [:]
    var contexts: [VerbsContext] = []
    /// The NUMA nodes of devices, by their names, as far as they have been asked for.
    var nodes: [String: Int?] = [:]
    /// Events that we make ourselves, reported before those of RDMA CM.
    var ownEvents: [ConnectionEvent] = []
    /// Readable while `channel` or `wake` is.
    private let poll: Int32
    /// An eventfd, readable while `ownEvents` has something.
    private let wake: Int32
    /// Which completion vector the contexts use: reactors take turns, so that interrupts spread over the processors.
    let completionVector: Int32
    private var isClosed = false

    private static let nextHandle = Atomic<UInt64>(1)
    private static let nextVector = Atomic<UInt32>(0)

    /// Opens the connection manager. Throws if the machine has none, or no descriptors are left.
    public static func open() throws(TercetError) -> VerbsFabric {
        guard let channel = rdma_create_event_channel() else {
            throw verbsError(
                "rdma_create_event_channel", errno,
                advice: [
                    ENODEV: "this machine has no RDMA device; load its driver and rdma_ucm, or run on softverbs"
                ])
        }
        let wake = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
        let poll = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard wake >= 0, poll >= 0, tercet_set_nonblocking(channel.pointee.fd) == 0,
            watch(channel.pointee.fd, in: poll), watch(wake, in: poll)
        else {
            let code = errno
            if wake >= 0 { _ = Glibc.close(wake) }
            if poll >= 0 { _ = Glibc.close(poll) }
            rdma_destroy_event_channel(channel)
            throw verbsError("event channel", code)
        }
        return VerbsFabric(channel: channel, wake: wake, poll: poll)
    }

    private static func watch(_ descriptor: Int32, in poll: Int32) -> Bool {
        var event = epoll_event()
        event.events = EPOLLIN.rawValue
        return epoll_ctl(poll, EPOLL_CTL_ADD, descriptor, &event) == 0
    }

    private init(channel: UnsafeMutablePointer<rdma_event_channel>, wake: Int32, poll: Int32) {
        self.channel = channel
        self.wake = wake
        self.poll = poll
        completionVector = Int32(
            Self.nextVector.wrappingAdd(1, ordering: .relaxed).oldValue & UInt32(Int32.max))
        super.init()
    }

    deinit { close() }

    public override var eventDescriptor: Int32 { poll }

    public override func close() {
        if isClosed { return }
        isClosed = true
        for connection in Array(connections.keys) { destroy(connection) }
        for listener in Array(listeners.keys) { stopListening(listener) }
        ownEvents.removeAll()
        contexts.removeAll()
        rdma_destroy_event_channel(channel)
        _ = Glibc.close(wake)
        _ = Glibc.close(poll)
    }

    /// A number that no other connection or listener of this process has or had.
    static func newHandle() -> UInt64 { nextHandle.wrappingAdd(1, ordering: .relaxed).oldValue }

    public override func listen(at address: SocketAddress, backlog: Int) throws(TercetError) -> ListenerHandle {
        try startListening(at: address, backlog: backlog)
    }

    public override func stopListening(_ listener: ListenerHandle) {
        if let id = listeners.removeValue(forKey: listener) { rdma_destroy_id(id) }
    }

    public override func address(of listener: ListenerHandle) -> SocketAddress? {
        listeners[listener].flatMap { SocketAddress(rdma_get_local_addr($0)) }
    }

    public override func resolve(
        _ address: SocketAddress, from source: SocketAddress?, timeoutMilliseconds: Int32
    ) throws(TercetError) -> ConnectionHandle {
        try beginResolving(address, from: source, timeoutMilliseconds: timeoutMilliseconds)
    }

    public override func connect(
        _ connection: ConnectionHandle, _ parameters: ConnectionParameters
    ) throws(TercetError) {
        try establish(connection, parameters, from: .resolved, "rdma_connect", limit: PrivateDataLimit.connect) {
            rdma_connect($0, &$1)
        }
    }

    public override func accept(
        _ connection: ConnectionHandle, _ parameters: ConnectionParameters
    ) throws(TercetError) {
        try establish(connection, parameters, from: .requested, "rdma_accept", limit: PrivateDataLimit.accept) {
            rdma_accept($0, &$1)
        }
    }

    public override func reject(_ connection: ConnectionHandle, privateData: [UInt8]) {
        sendRejection(connection, privateData: privateData)
    }

    public override func handOver(_ connection: ConnectionHandle) -> ConnectionTicket { giveAway(connection) }

    public override func adopt(_ ticket: ConnectionTicket) throws(TercetError) -> ConnectionHandle {
        try takeOver(ticket)
    }

    public override func discard(_ ticket: ConnectionTicket) { refuse(ticket) }

    public override func disconnect(_ connection: ConnectionHandle) { beginDisconnect(connection) }

    public override func destroy(_ connection: ConnectionHandle) { free(connection) }

    public override func nextEvent() -> ConnectionEvent? { takeEvent() }

    public override func context(
        for connection: ConnectionHandle, _ options: ContextOptions
    ) throws(TercetError) -> FabricContext {
        guard let entry = connections[connection] else { throw Self.unknownConnection }
        guard let verbs = entry.id.pointee.verbs else {
            throw TercetError(call: "context", errno: ENODEV, reason: "the connection's device is not known yet")
        }
        if let context = contexts.first(where: { $0.device.verbs == verbs }) { return context }
        let device = try VerbsDevice.shared(verbs)
        let context = try VerbsContext(device, fabric: self, options: options, vector: completionVector)
        contexts.append(context)
        return context
    }

    static let unknownConnection = TercetError(
        call: "connection", errno: ENOTCONN, reason: "the connection has been destroyed")

    /// Reports an event of our own making.
    func report(_ event: ConnectionEvent) {
        if ownEvents.isEmpty { _ = eventfd_write(wake, 1) }
        ownEvents.append(event)
    }

    /// Forgets events of our own making, of which none must be heard any more.
    func withdraw(_ connection: ConnectionHandle) {
        if ownEvents.isEmpty { return }
        ownEvents.removeAll { $0.connection == connection }
        if ownEvents.isEmpty { clearWake() }
    }

    func clearWake() {
        var count: eventfd_t = 0
        _ = eventfd_read(wake, &count)
    }
}
