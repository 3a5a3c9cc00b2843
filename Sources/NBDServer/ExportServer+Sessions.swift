import Base
import BlockInterface
import CLinux
import Glibc
import NBDProtocol

/// Things in the epoll set, as one number.
enum Watched {
    case listener
    case socket(Int)
    case channel(Int)

    init(_ number: Int32) {
        self = number < 0 ? .listener : number & 1 == 0 ? .socket(Int(number) / 2) : .channel(Int(number) / 2)
    }

    var number: Int32 {
        switch self {
        case .listener: -1
        case .socket(let place): Int32(2 * place)
        case .channel(let place): Int32(2 * place + 1)
        }
    }
}

/// The way of a connection from its handshake into a session.
extension ExportServer {
    func watch(_ descriptor: Int32, _ watched: Watched) {
        var events = EPOLLIN.rawValue | EPOLLET.rawValue
        if case .socket = watched { events |= EPOLLOUT.rawValue | EPOLLRDHUP.rawValue }
        var event = epoll_event(events: events, data: epoll_data_t(fd: watched.number))
        if epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) != 0, errno != EEXIST {
            fatalError("epoll_ctl: \(String(cString: strerror(errno)))")
        }
    }

    /// One step of a handshake; returns how much was done.
    func shake(_ connection: ClientConnection) -> Int {
        var work = 0
        if !connection.greeting.isEmpty || connection.handshake?.output.isEmpty == false { work += speak(connection) }
        // A client that does not listen is not heard.
        guard connection.stage == .handshake, connection.greeting.isEmpty else { return work }
        // Staged bytes have waited until the answers before them had gone out.
        if connection.staging.count == 0 {
            guard hear(connection) else { return work }
        }
        guard var handshake = connection.handshake else { return work }
        let (consumed, outcome) = handshake.receive(connection.staging.bytes)
        connection.staging.take(consumed)
        connection.handshake = handshake
        switch outcome {
        case .unfinished: work += speak(connection)
        case .over(let reason):
            work += speak(connection)
            connection.end(reason)
        case .ready(let session, let place):
            let name = handshake.exportName(place)
            work += begin(connection, session, exports.all.first { $0.name == name })
        }
        return work + 1
    }

    /// Receives what a client says in its handshake; `false` where nothing has come.
    private func hear(_ connection: ClientConnection) -> Bool {
        guard connection.socket.isReadable else { return false }
        connection.staging.makeRoom(for: Staging.capacity)
        let (place, room) = connection.staging.room
        let count = read(connection.descriptor, place, room)
        guard count > 0 else {
            if count < 0, errno == EAGAIN {
                connection.socket.isReadable = false
            } else if count == 0 {
                // Those that only look whether somebody listens are no news.
                connection.end(connection.handshake?.isWithinMessage == true ? "closed within an option" : "")
            } else if errno != EINTR {
                connection.end(String(cString: strerror(errno)))
            }
            return false
        }
        connection.socket.receivedAt = roundTime
        connection.staging.received(count)
        return true
    }

    /// Sends what the handshake says.
    private func speak(_ connection: ClientConnection) -> Int {
        if let output = connection.handshake?.output, !output.isEmpty {
            connection.greeting += output
            connection.handshake?.output.removeAll()
        }
        guard connection.socket.isWritable, !connection.greeting.isEmpty else { return 0 }
        _ = connection.sendGreeting(roundTime)
        return 1
    }

    /// Begins the session that a handshake has led to, where the export has a place for one more; else the handshake goes on.
    private func begin(_ connection: ClientConnection, _ session: NBDSession, _ export: Export?) -> Int {
        guard let export, export.open() else {
            let reason =
                export.map { "the export \"\($0.name)\" has \(Export.maximumSessions) sessions already" }
                ?? "the export is gone"
            let isRefused = connection.handshake?.refuse(reason) ?? false
            let work = speak(connection)
            if isRefused { observer(.clientRefused(reason: reason)) } else { connection.end(reason) }
            return work
        }
        let work = speak(connection)
        guard connection.stage == .handshake else {
            export.close()
            return work
        }
        connection.handshake = nil
        connection.session = session
        if export.home != index, let home = peer(export.home) {
            move(connection, export, to: home)
        } else {
            start(connection, export)
        }
        return work
    }

    /// Hands a connection over to the server of another reactor.
    private func move(_ connection: ClientConnection, _ export: Export, to home: ExportServer) {
        let descriptor = dup(connection.descriptor)
        let greeting = connection.greeting
        let staged = Array(connection.staging.bytes)
        let session = connection.session
        guard descriptor >= 0 else {
            connection.end(String(cString: strerror(errno)))
            return export.close()
        }
        let (whenOver, isBound) = (connection.whenOver, connection.isBound)
        connection.whenOver = nil
        connection.end("")
        home.run {
            let moved = home.add(descriptor)
            moved.whenOver = whenOver
            moved.isBound = isBound
            moved.session = session
            moved.greeting = greeting
            moved.staging.append(staged)
            home.start(moved, export)
        }
    }

    /// Begins the session of a connection, which has a place among the export's.
    func start(_ connection: ClientConnection, _ export: Export) {
        do throws(TercetError) {
            let channel = try export.device.openChannel(
                depth: ClientConnection.maximumPieces, for: connection.isDevice ? .kernelNBD : .nbd)
            channel.announce(memory.memory)
            connection.channel = channel
            connection.loans.arePossible = export.device.lendsMemory
        } catch {
            export.close()
            return connection.end("the export \"\(export.name)\" cannot be opened: \(error)")
        }
        connection.export = export
        connection.blockMask = UInt64(export.device.geometry.blockSize) - 1
        connection.stage = .session
        if let descriptor = connection.channel?.notificationDescriptor, descriptor >= 0 {
            watch(descriptor, .channel(connection.place))
        }
        observer(.sessionBegan(export: export.name, session: connection.number))
    }
}
