import Base
import BlockInterface
import CLinux
import Glibc
import NBDProtocol

/// One client: its handshake, then its session with an export. Belongs to its server's thread.
///
///     handshake -- session -- draining (no more is read; what is under way is answered) -- dead -- over
///
/// A request is cut into pieces of at most 1 MiB of data. A piece has memory of the server from the moment at which its data is
/// received, or read from the device, until it is written, or sent: that memory is all that a client can hold.
///
/// It has many stored properties because the I/O path needs them side by side; each file of extensions uses its own.
final class ClientConnection {
    enum Stage: Equatable {
        case handshake
        case session
        case draining
        /// The socket is closed; the device may still be at work.
        case dead
    }

    /// Requests of a client that are under way at once; further ones wait in its socket.
    static let maximumRequests = 256
    /// Pieces at once: one for each request, and more of those that are cut.
    static let maximumPieces = maximumRequests + 64
    static let pieceBytes = 1 << 20

    let number: UInt64
    let place: Int
    private let epoll: Int32
    let memory: ServerMemory
    let calls: CallMemory
    var descriptor: Int32
    var stage = Stage.handshake
    /// Why it ends, for the log.
    var reason = ""
    var socket = SocketState()
    var staging = Staging()
    var handshake: NBDHandshake?
    /// Bytes of the handshake that are to be sent before everything else.
    var greeting: [UInt8] = []
    var session = NBDSession(form: .simple, size: 0, flags: [])
    var export: Export?
    var channel: BlockChannel?
    /// Reads out of a device's own memory.
    var loans = Loans()
    var blockMask: UInt64 = 511
    var requests = SlotTable<RequestIndex, RequestSlot>(capacity: maximumRequests, initial: RequestSlot())
    var pieces = SlotTable<PieceIndex, PieceSlot>(capacity: maximumPieces, initial: PieceSlot())
    let headers = UnsafeMutableRawPointer.allocate(
        byteCount: maximumPieces * NBDReply.longestHeader, alignment: 16)
    /// Reads and ranges of which more pieces are to be made; they take turns.
    var cutting = SlotList<RequestSlot>()
    /// Pieces to be given to the device.
    var unsubmitted = SlotList<PieceSlot>()
    /// Pieces whose range somebody else has.
    var blocked = SlotList<PieceSlot>()
    /// Pieces to be sent, in order; and those that come behind the data of one request that is sent in several steps.
    var outgoing = SlotList<PieceSlot>()
    var held = SlotList<PieceSlot>()
    var streaming = RequestIndex.none
    var intake = Intake()
    /// Pieces that the device has.
    var deviceCount = 0
    var heldBytes = 0
    /// Bytes that it may hold.
    var share = 0
    var isChannelArmed = false
    /// The client is the kernel of this machine.
    var isDevice = false
    /// Hears that it is over.
    var whenOver: (@Sendable () -> Void)?
    /// Another thread of this process has the client's end: no other process can go on with it.
    var isBound = false
    /// It goes to another process: no more requests are taken up.
    var isLeaving = false

    /// The state of the socket, as far as it is known.
    struct SocketState {
        var isReadable = true
        var isWritable = true
        var receivedAt = MonotonicTime(nanoseconds: 0)
        var sentAt = MonotonicTime(nanoseconds: 0)
    }

    /// The request whose payload is being received.
    struct Intake {
        var request = RequestIndex.none
        var piece = PieceIndex.none
        /// Payload of a refused request that is dropped, and the piece that then answers it.
        var skipLeft: UInt64 = 0
        var refusal = PieceIndex.none
        /// Nothing is received because requests, pieces or memory are used up.
        var isStalled = false
        /// The last payload was long: headers are received alone, so that payloads go straight to their memory.
        var isBulky = false
    }

    init(
        _ descriptor: Int32, number: UInt64, place: Int, epoll: Int32, memory: ServerMemory, calls: CallMemory,
        now: MonotonicTime
    ) {
        self.descriptor = descriptor
        self.epoll = epoll
        self.number = number
        self.place = place
        self.memory = memory
        self.calls = calls
        socket.receivedAt = now
        socket.sentAt = now
    }

    deinit {
        staging.deallocate()
        headers.deallocate()
    }

    // MARK: Rounds

    /// Does what there is to do in a session; returns how much that was.
    func poll(now: MonotonicTime) -> Int {
        var work = 0
        if let channel, channel.running > 0 { work += collect(channel) }
        if stage == .dead { return work }
        if !blocked.isEmpty { retryBlocked() }
        if !cutting.isEmpty { cut() }
        if stage == .session { work += receive(now) }
        if !unsubmitted.isEmpty, let channel {
            work += submit(channel)
            // A device in memory has done it when it is asked.
            work += collect(channel)
        }
        if stage != .dead, socket.isWritable { work += send(now) }
        if _slowPath(loans.count > 0), now >= loans.lookAt { endLoansInTheWay(now) }
        if stage == .draining, isQuiet { end("") }
        return work
    }

    /// Nothing is under way, or left to be sent.
    var isQuiet: Bool { requests.available == requests.capacity && outgoing.isEmpty && greeting.isEmpty }

    /// It can be forgotten.
    var isOver: Bool { stage == .dead && deviceCount == 0 }

    /// Since when the client keeps the server waiting; `nil` where it does not.
    var owesSince: MonotonicTime? {
        switch stage {
        case .dead: return nil
        case .handshake: return max(socket.receivedAt, socket.sentAt)
        case .session, .draining: break
        }
        if !socket.isWritable, !outgoing.isEmpty || !greeting.isEmpty { return socket.sentAt }
        let isHalfSent =
            stage == .session && !socket.isReadable && !intake.isStalled
            && (!intake.piece.isNone || intake.skipLeft > 0 || staging.count > 0)
        return isHalfSent ? socket.receivedAt : nil
    }

    /// Reads no more requests; ends when those under way are answered.
    func drain(_ reason: String) {
        guard stage == .session || stage == .handshake else { return }
        if self.reason.isEmpty { self.reason = reason }
        if stage == .handshake { return end(reason) }
        stage = .draining
        dropIntake()
    }

    /// Gives up a request that has not arrived whole: nobody waits for its answer.
    private func dropIntake() {
        if let piece = intake.piece.ifAny {
            release(piece)
            requests[pieces[piece].request].pieces -= 1
            pieces.give(piece)
        }
        if let refusal = intake.refusal.ifAny {
            requests.give(pieces[refusal].request)
            pieces.give(refusal)
        }
        if let request = intake.request.ifAny {
            // Pieces of it that the device has come back and find it without an answer.
            requests[request].command = .disconnect
            requests[request].cut = requests[request].request.length
            if requests[request].pieces == 0 { requests.give(request) }
        }
        intake = Intake()
    }

    /// Closes the socket and lets go of everything that the device does not have.
    func end(_ reason: String) {
        guard stage != .dead else { return }
        if self.reason.isEmpty { self.reason = reason }
        if stage == .session { dropIntake() }
        stage = .dead
        // If another server goes on with the socket, closing it here would not take it out of the set.
        epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, nil)
        Glibc.close(descriptor)
        descriptor = -1
        while let piece = blocked.removeFirst(in: pieces) {
            withdraw(piece)
            release(piece)
        }
        while let piece = unsubmitted.removeFirst(in: pieces) { release(piece) }
        while let piece = outgoing.removeFirst(in: pieces) { release(piece) }
        while let piece = held.removeFirst(in: pieces) { release(piece) }
    }

    // MARK: Memory

    /// Memory for a piece, within the connection's share.
    func allocate(_ bytes: Int) -> (UnsafeMutableRawPointer, Int)? {
        let rounded = Self.rounded(bytes)
        guard mayHold(rounded), let buffer = memory.allocate(rounded) else { return nil }
        heldBytes += rounded
        return (buffer, rounded)
    }

    /// Memory that so many bytes take up.
    @inline(__always)
    static func rounded(_ bytes: Int) -> Int {
        var rounded = 4096
        while rounded < bytes { rounded *= 2 }
        return rounded
    }

    /// Whether so much more is within its share.
    @inline(__always)
    func mayHold(_ bytes: Int) -> Bool { heldBytes == 0 || heldBytes + bytes <= share }

    /// Gives back the memory and the lock of a piece.
    func release(_ piece: PieceIndex) {
        unlock(piece)
        if pieces[piece].isLent { return endLoan(piece) }
        if let buffer = pieces[piece].buffer { memory.free(buffer) }
        if let edges = pieces[piece].edges { memory.free(edges) }
        pieces[piece].buffer = nil
        pieces[piece].edges = nil
        heldBytes -= pieces[piece].heldBytes
        pieces[piece].heldBytes = 0
    }

    // MARK: Ranges

    func lock(_ piece: PieceIndex) -> Bool {
        let slot = pieces[piece]
        guard slot.needsLock, !slot.isLocked, let export else { return true }
        let isLocked = export.ranges.tryLock(slot.lockMode, offset: slot.blockOffset, length: slot.blockLength)
        pieces[piece].isLocked = isLocked
        return isLocked
    }

    func unlock(_ piece: PieceIndex) {
        let slot = pieces[piece]
        guard slot.isLocked, let export else { return }
        export.ranges.unlock(slot.lockMode, offset: slot.blockOffset, length: slot.blockLength)
        pieces[piece].isLocked = false
    }

    private func withdraw(_ piece: PieceIndex) {
        let slot = pieces[piece]
        guard slot.lockMode == .exclusive, let export else { return }
        export.ranges.withdraw(offset: slot.blockOffset, length: slot.blockLength)
    }

    private func retryBlocked() {
        var waiting = blocked
        blocked = SlotList()
        while let piece = waiting.removeFirst(in: pieces) { begin(piece) }
    }
}
