import Base
import ControlPlane
import FabricInterface
import Glibc
import Logging
import Metrics
import NVMeSpec
import NVMeTarget
import RDMATransport
import Reactor
import Repetition
import TargetConfiguration
import TargetInterface
import Terminal
import VerbsFabric

/// The running daemon: the target, a reactor with a poll group for each processor that it uses, and what it is to be.
///
/// Changes are made one after the other, whether they come from a signal or from the control socket.
actor Service {
    nonisolated let logger: Logger
    nonisolated let target: Target
    nonisolated let surroundings: DaemonSurroundings
    /// The reactors' progress.
    nonisolated let watch: ReactorWatch
    private let threshold: LogThreshold
    private let levelOfCommandLine: Logger.Level
    private let stateDirectory: StateDirectory?
    private let journal: EventJournal
    nonisolated let reactors: [Reactor]
    let reactorPlaces: [TargetState.ReactorPlace]
    private var groups: [ReactorGroup] = []
    /// The configuration as it is written, and what it says.
    var written: WrittenConfiguration
    /// The configuration of the last `apply`.
    private(set) var told: Configuration
    /// Subsystems whose hosts are to go to other paths; not part of the configuration.
    var drained: Set<String> = []
    /// The pools that are open.
    var pools: [OpenPool] = []
    let poolDoor = PoolDoor()
    /// The parts that failed when the target was told what to be.
    private var failed: [MissingPart] = []
    /// The parts that the target lacks of what it was told last.
    var missing: [MissingPart] {
        failed
            + target.lostListeners.map {
                MissingPart(part: .listener($0), reason: "its address, or the device of that, has gone")
            }
    }
    /// The failures of namespaces' devices that the log has told.
    var failures = GrowingCounts<NamespaceKey>()
    /// A change is being made; others wait for their turns.
    private var isChanging = false
    private var waiting: [CheckedContinuation<Void, Never>] = []
    /// Changes come too late.
    var isStopping = false
    var control: ControlServer?
    var metrics: HTTPServer?
    /// Seconds since 1970.
    let startSeconds = Double(time(nil))
    private var reloads = 0

    /// - Parameters:
    ///   - written: its sizes and its state directory; the rest is for `apply`.
    ///   - threshold: of the logger.
    init(
        _ written: WrittenConfiguration, logger: Logger, threshold: LogThreshold
    ) throws(TercetError) {
        self.logger = logger
        self.threshold = threshold
        levelOfCommandLine = threshold.level
        self.written = written
        let configuration = written.configuration
        var directory: StateDirectory?
        if let path = configuration.stateDirectory { directory = try StateDirectory(path: path) }
        stateDirectory = directory
        let seed: IdentitySeed
        let machine = Machine.this
        if let directory {
            let (kept, remarks) = try directory.identity(of: machine)
            for remark in remarks { logger.warning("\(remark)") }
            seed = IdentitySeed(kept: kept, machine: machine)
        } else {
            seed = IdentitySeed(kept: nil, machine: machine)
        }
        surroundings = DaemonSurroundings(
            seed: seed, reservations: directory.map { FileReservationStore(folder: $0.path) }, pools: poolDoor)
        told = configuration
        let journal = EventJournal(logger)
        self.journal = journal
        target = Target(
            options: configuration.definition.options, surroundings: surroundings,
            bootInstance: Target.newBootInstance(),
            now: .now(), observe: { journal.record($0) })
        let places = ProcessorPlaces.this
        let processors = places.processors(for: configuration.reactors)
        reactors = processors.enumerated().map { Reactor(name: "reactor-\($0)", processor: $1) }
        reactorPlaces = processors.map { .init(processor: $0, node: places.node(of: $0)) }
        watch = ReactorWatch(reactors)
    }

    /// Starts the reactors; the target has nothing yet.
    func start() throws(TercetError) {
        for (reactor, place) in zip(reactors, reactorPlaces) {
            let fabric: VerbsFabric
            do throws(TercetError) {
                fabric = try VerbsFabric.open()
            } catch {
                throw TercetError(error.code, "RDMA cannot be used", cause: error)
            }
            let group = ReactorGroup(target, RDMATargetTransport(fabric, target.options), on: reactor, node: place.node)
            groups.append(group)
            group.join()
            reactor.start()
        }
        openPoolDoor()
    }

    /// Makes the target what a configuration says. Returns, for people, what has been done; `missing` is what has failed.
    ///
    /// - Parameter reopened: namespaces that are made anew although nothing of what is said of them differs.
    /// - Throws: where a namespace in memory would lose its contents; nothing has been done then.
    func apply(
        _ desired: Configuration, reopening reopened: [TargetPart] = []
    ) async throws(TercetError) -> [String] {
        let (definition, unopened) = await filled(desired.definition)
        let report = try await target.apply(definition.draining(drained), reopening: reopened)
        failed = unopened + report.missing
        forgetPools(notIn: desired.definition)
        defer { told = desired }
        let level = desired.logLevel.map(Logger.Level.init) ?? levelOfCommandLine
        var lines = report.done + desired.linesForRestart(since: told)
        if level != threshold.level { lines.append("logLevel is \(level)") }
        threshold.level = level
        return lines
    }

    /// The number of the next reload.
    func nextReload() -> Int {
        reloads += 1
        return reloads
    }

    /// Waits until no other change is being made. `giveTurn` follows.
    func takeTurn() async {
        guard isChanging else {
            isChanging = true
            return
        }
        await withCheckedContinuation { waiting.append($0) }
    }

    func giveTurn() {
        if waiting.isEmpty { isChanging = false } else { waiting.removeFirst().resume() }
    }

    /// Looks for devices that grew, shrank, vanished or fail; each second or so.
    func refresh() {
        target.refreshNamespaces()
        reportFailures()
        journal.tick()
    }

    /// Ends all connections and all threads.
    func stop() async {
        isStopping = true
        // A change that is being made needs the reactors.
        await takeTurn()
        giveTurn()
        control?.stop()
        metrics?.stop()
        for (reactor, group) in zip(reactors, groups) {
            await group.close()
            reactor.stop()
        }
        journal.flush()
        control?.endConnections()
    }
}

extension Logger.Level {
    init(_ level: LogLevel) {
        self =
            switch level {
            case .trace: .trace
            case .debug: .debug
            case .info: .info
            case .notice: .notice
            case .warning: .warning
            case .error: .error
            case .critical: .critical
            }
    }
}

extension TargetDefinition {
    /// The same with all namespaces of these subsystems inaccessible: hosts go to other paths.
    func draining(_ nqns: Set<String>) -> TargetDefinition {
        var drained = self
        for place in drained.subsystems.indices where nqns.contains(drained.subsystems[place].nqn) {
            let groups = Set(drained.subsystems[place].namespaces.map(\.anaGroup))
            var states = drained.subsystems[place].anaStates
            for group in groups { states[ANAGroupPlace(group: group)] = .inaccessible }
            for key in states.keys { states[key] = .inaccessible }
            drained.subsystems[place].anaStates = states
        }
        return drained
    }
}
