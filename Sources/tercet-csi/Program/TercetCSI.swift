import Base
import ControllerCalls
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Logging
import NodeAgent
import Synchronization
import Terminal
import UnixSockets

/// The server of `tercet-node serve`, which starts it with its settings.
@main
enum TercetCSI {
    /// Milliseconds in which answers that were given last go out, once all calls have ended.
    private static let patienceMilliseconds = 2000
    /// Bytes of a request: an identifier, two paths, and some maps of 4 KiB (CSI 1.12, "Size Limits").
    private static let longestRequest = 256 << 10
    /// Calls at a time on a connection.
    private static let mostStreams = 128
    /// Milliseconds between two looks at calls that are to end.
    private static let pollMilliseconds = 50

    static func main() {
        let arguments = CommandLine.arguments
        guard arguments.count == 2,
            let settings = try? JSONDecoder().decode(DriverSettings.self, from: Data(arguments[1].utf8))
        else { end("this is the server of \"tercet-node serve\", which starts it: see tercet-node serve --help", 2) }
        guard let level = Logger.Level(rawValue: settings.logLevel) else {
            let levels = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
            end("the log level \"\(settings.logLevel)\" is not known; allowed: \(levels)", 2)
        }
        let threshold = LogThreshold(level)
        let logger = Logger(label: "tercet-csi") { _ in
            LineLogHandler("tercet-csi", format: settings.logsJSON ? .json : .usual, threshold: threshold)
        }
        do { try serve(settings, logger) } catch { end("\(error)", 1) }
    }

    private static func end(_ message: String, _ status: Int32) -> Never {
        writeToStandardError("tercet-csi: \(message)\n")
        exit(status)
    }

    /// Serves until a signal comes, and then until the calls that run have ended.
    private static func serve(_ settings: DriverSettings, _ logger: Logger) throws {
        let signals = Signals([SIGTERM, SIGINT])
        let manager = ServiceNotification()
        // Makes the folder, and fails where it cannot be.
        _ = try NodeAgent(settings.agent)
        let listener = try UnixListener(path: settings.socket, mode: 0o600, lockPath: lock(settings))
        let calls = RunningCalls(settings, logger)
        let server = try server(at: listener, settings, calls)
        let ending = Ending()
        Task.detached {
            do { try await server.serve() } catch { logger.critical("the server has ended: \(error)") }
            ending.note()
        }
        manager.ready("serving")
        logger.notice("serving", metadata: ["socket": "\(settings.socket)", "driver": "\(IdentityService.name)"])
        while signals.wait(milliseconds: .max) == nil {}
        let isWanted = !ending.hasCome
        manager.stopping()
        logger.notice("ending", metadata: ["calls": "\(calls.count)"])
        calls.stop()
        // The next process may serve at once: calls for the same volume exclude each other in any process.
        listener.close()
        server.beginGracefulShutdown()
        // A second signal ends the program as it is: each call can be made again.
        while calls.count > 0 { if signals.wait(milliseconds: pollMilliseconds) != nil { exit(1) } }
        var waited = 0
        while !ending.hasCome, waited < patienceMilliseconds {
            _ = signals.wait(milliseconds: pollMilliseconds)
            waited += pollMilliseconds
        }
        exit(isWanted ? 0 : 1)
    }

    private static func server(
        at listener: UnixListener, _ settings: DriverSettings, _ calls: RunningCalls
    ) throws -> GRPCServer<HTTP2ServerTransport.Posix> {
        // The transport closes its descriptor itself.
        let descriptor = fcntl(listener.descriptor, F_DUPFD_CLOEXEC, 0)
        guard descriptor >= 0 else { throw NodeError(.internal, "fcntl: \(String(cString: strerror(errno)))") }
        let transport = HTTP2ServerTransport.Posix(
            listeningSocketDescriptor: Int(descriptor), transportSecurity: .plaintext,
            config: .defaults { config in
                config.rpc.maxRequestPayloadSize = longestRequest
                config.http2.maxConcurrentStreams = mostStreams
                // A client that comes back connects again; one that never says anything would keep its descriptor.
                config.connection.maxIdleTime = .seconds(600)
                config.connection.keepalive.clientBehavior.allowWithoutCalls = true
                config.connection.keepalive.clientBehavior.minPingIntervalWithoutCalls = .seconds(10)
            })
        var services: [any RegistrableRPCService] = [IdentityService(calls: calls), HealthService(calls: calls)]
        if let program = calls.controller() { services.append(ControllerService(calls: calls, program: program)) }
        if calls.isNode { services.append(NodeService(calls: calls, settings: settings)) }
        return GRPCServer(transport: transport, services: services)
    }

    /// The lock of the socket's path. It lies in the agent's folder: CSI has no other file beside the socket.
    private static func lock(_ settings: DriverSettings) -> String {
        "\(settings.agent.runFolder)/csi\(settings.socket.split(separator: "/").map { "-\($0)" }.joined()).lock"
    }
}

/// Whether the server has ended; if nobody wanted that, the program does as for a signal.
private final class Ending: Sendable {
    private let state = Atomic<Bool>(false)

    var hasCome: Bool { state.load(ordering: .acquiring) }

    func note() {
        state.store(true, ordering: .releasing)
        kill(getpid(), SIGTERM)
    }
}
