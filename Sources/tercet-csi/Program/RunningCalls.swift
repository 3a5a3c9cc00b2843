import ControllerCalls
import GRPCCore
import Logging
import NodeAgent
import Synchronization

/// The calls that are under way. Each has a thread, and goes on to its end when its caller has gone: what the caller sees then is
/// ABORTED for the next one, until this one has ended.
final class RunningCalls: Sendable {
    /// The peers of calls: a node's, and a controller's.
    enum Peer: CaseIterable { case daemon, registry }

    private struct State {
        var count = 0
        var isStopping = false
        /// Those that have not answered last.
        var away: Set<Peer> = []
    }

    /// More of them are turned away: each has a thread, and one whose device does not answer may have it for long.
    private static let limit = 64

    private let settings: NodeSettings
    private let controllerSettings: ControllerSettings?
    /// A node's calls are served.
    let isNode: Bool
    /// Orchestrators are to give topologies.
    let hasTopology: Bool
    private let logger: Logger
    private let state = Mutex(State())

    init(_ settings: DriverSettings, _ logger: Logger) {
        self.settings = settings.agent
        controllerSettings = settings.controller
        isNode = settings.servesNode
        hasTopology = settings.hasTopology
        self.logger = logger
    }

    /// A controller's calls are served.
    var isController: Bool { controllerSettings != nil }

    /// The program for a controller's calls; `nil` where none are served.
    func controller(timeoutSeconds: UInt32? = nil) -> ControllerProgram? {
        controllerSettings.map { ControllerProgram($0, timeoutSeconds: timeoutSeconds ?? settings.timeoutSeconds) }
    }

    var count: Int { state.withLock { $0.count } }
    var isStopping: Bool { state.withLock { $0.isStopping } }

    /// Turns new calls away from now on.
    func stop() { state.withLock { $0.isStopping = true } }

    /// Notes whether one that calls need answers, and what is wrong where it does not.
    func note(_ peer: Peer, _ problem: String?) {
        let hasChanged = state.withLock { state in
            problem == nil ? state.away.remove(peer) != nil : state.away.insert(peer).inserted
        }
        guard hasChanged else { return }
        if let problem { logger.warning("not ready: \(problem)") } else { logger.notice("ready again") }
    }

    /// Makes a call, and logs its end: its name, its volume and its result, and nothing else of what the caller has sent.
    ///
    /// - Parameters:
    ///   - level: that of its log line where it succeeds; `failureLevel` where it fails.
    ///   - timeoutSeconds: the time that it may take; that of the settings where it is `nil`.
    func make<Result: Sendable>(
        _ name: String, volume: String? = nil, level: Logger.Level = .info, failureLevel: Logger.Level = .warning,
        timeoutSeconds: UInt32? = nil,
        _ body: @escaping @Sendable (NodeAgent) async throws -> Result
    ) async throws -> Result {
        try begin()
        defer { state.withLock { $0.count -= 1 } }
        let (start, thread, logger) = (ContinuousClock.now, CallThread(), logger)
        defer { thread.end() }
        var settings = settings
        if let timeoutSeconds { settings.timeoutSeconds = timeoutSeconds }
        let call = Task.detached(executorPreference: thread) { [settings] in
            try await body(NodeAgent(settings) { step in logger.info("\(step)") })
        }
        let outcome = await call.result
        var details: Logger.Metadata = ["milliseconds": "\(Int(start.duration(to: .now) / .milliseconds(1)))"]
        if let volume { details["volume"] = "\(volume.prefix(140))" }
        switch outcome {
        case .success(let result):
            logger.log(level: level, "\(name): OK", metadata: details)
            return result
        case .failure(let error):
            let error = error as? NodeError ?? NodeError(.internal, "\(error)")
            logger.log(level: failureLevel, "\(name): \(error.code.name): \(error.message)", metadata: details)
            throw RPCError(error)
        }
    }

    private func begin() throws {
        try state.withLock { state in
            guard !state.isStopping else {
                throw RPCError(NodeError(.unavailable, "the agent is ending: try again when the next one has begun"))
            }
            guard state.count < Self.limit else {
                throw RPCError(
                    NodeError(.unavailable, "\(Self.limit) calls are under way: try again when one has ended"))
            }
            state.count += 1
        }
    }
}

extension RPCError {
    /// Characters of a message that are sent: it travels in a header.
    private static let longestMessage = 1000

    init(_ error: NodeError) {
        let code = Status.Code(rawValue: Int(error.code.rawValue)).flatMap { Code($0) } ?? .unknown
        self.init(code: code, message: String(error.message.prefix(Self.longestMessage)))
    }
}
