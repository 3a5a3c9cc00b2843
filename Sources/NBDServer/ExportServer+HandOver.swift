import Base
import CLinux
import Glibc
import NBDProtocol

/// A session between two requests, on its way to the server of another process.
public struct HandedSession: Sendable {
    /// The client's socket; the receiver's to close.
    public var descriptor: Int32
    /// The name of its export.
    public var export: String
    public var session: NBDSession
    /// Bytes that were received and not taken up: the beginning of the next request.
    public var staged: [UInt8]
    /// The client is the kernel of this machine.
    public var isDevice: Bool

    public init(
        descriptor: Int32, export: String, session: NBDSession, staged: [UInt8] = [], isDevice: Bool = false
    ) {
        self.descriptor = descriptor
        self.export = export
        self.session = session
        self.staged = staged
        self.isDevice = isDevice
    }
}

/// Sessions that are given away.
struct HandOver {
    var deadline: MonotonicTime
    var sessions: [HandedSession] = []
    var told: @Sendable ([HandedSession]) -> Void
}

extension ExportServer {
    /// Brings each session to a point between two requests, where all that it has received whole is answered, and gives it away.
    /// Connections that do not come there in time are ended. Accepts nothing more. On the reactor's thread.
    public func handOver(
        withinMilliseconds milliseconds: UInt64, _ told: @escaping @Sendable ([HandedSession]) -> Void
    ) {
        stopListening()
        leaving = HandOver(deadline: roundTime.advanced(byMilliseconds: milliseconds), told: told)
        forEachConnection { connection in
            connection.isLeaving = true
            if connection.isBound { connection.drain("what TLS protects is not handed over") }
        }
    }

    /// Goes on with a session that another process began, as one of the export's. On the reactor's thread.
    ///
    /// - Parameter whenOver: hears on the reactor's thread that it has ended, and that nothing of it is under way any more.
    public func resume(_ handed: HandedSession, _ export: Export, whenOver: (@Sendable () -> Void)? = nil) {
        // More than the beginning of a request is never received ahead.
        guard handed.staged.count <= Staging.capacity, export.open(isDevice: handed.isDevice) else {
            close(handed.descriptor)
            whenOver?()
            return
        }
        let connection = add(handed.descriptor)
        connection.isDevice = handed.isDevice
        connection.whenOver = whenOver
        connection.session = handed.session
        connection.staging.append(handed.staged)
        start(connection, export)
    }

    /// Lets the kernel's sessions with an export reach as far as the export now does. On the reactor's thread.
    public func resize(_ export: Export, to size: UInt64) {
        forEachConnection { if $0.isDevice, $0.export === export { $0.session.size = size } }
    }

    /// Takes the sessions that have come to their point; tells when there is none left.
    func collectLeaving() {
        guard var handOver = leaving else { return }
        let isLate = roundTime >= handOver.deadline
        var isAny = false
        forEachConnection { connection in
            if let handed = connection.surrender() {
                handOver.sessions.append(handed)
            } else if isLate {
                connection.end("it did not come to an end of a request before the hand-over")
            }
            if !connection.isOver { isAny = true }
        }
        leaving = handOver
        if isAny && !isLate { return }
        leaving = nil
        handOver.told(handOver.sessions)
    }
}

extension ClientConnection {
    /// It has taken up whole requests only.
    var isBetweenRequests: Bool { intake.request.isNone && intake.skipLeft == 0 && intake.refusal.isNone }

    /// Gives the socket away where nothing is under way; `nil` where something is.
    func surrender() -> HandedSession? {
        guard stage == .session, isLeaving, isBetweenRequests, isQuiet, deviceCount == 0, let export else { return nil }
        let handed = HandedSession(
            descriptor: dup(descriptor), export: export.name, session: session, staged: Array(staging.bytes),
            isDevice: isDevice)
        end("handed over")
        return handed.descriptor >= 0 ? handed : nil
    }
}
