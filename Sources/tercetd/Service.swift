import Base
import FabricInterface
import Glibc
import Logging
import NVMeTarget
import RDMATransport
import Reactor
import TargetConfiguration
import TargetInterface
import VerbsFabric

/// The running daemon: the target, and a reactor with a poll group for each processor that it uses.
@MainActor
final class Service {
    let logger: Logger
    let target: Target
    let surroundings: DaemonSurroundings
    private let stateDirectory: StateDirectory?
    private let journal: EventJournal
    private var reactors: [Reactor] = []
    private var groups: [ReactorGroup] = []
    /// The configuration of the last `apply`.
    private var told: Configuration
    /// The parts that failed when the target was told what to be.
    private var failed: [MissingPart] = []
    /// The parts that the target lacks of what it was told last.
    var missing: [MissingPart] {
        failed
            + target.lostListeners.map {
                MissingPart(part: .listener($0), reason: "its address, or the device of that, has gone")
            }
    }
    /// The last reports of namespaces' failures.
    var failures: [NamespaceKey: FailureReport] = [:]

    /// - Parameter configuration: its sizes and its state directory; the rest is for `apply`.
    init(_ configuration: Configuration, logger: Logger) throws(TercetError) {
        self.logger = logger
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
            seed: seed, reservations: directory.map { FileReservationStore(folder: $0.path) })
        told = configuration
        let journal = EventJournal(logger)
        self.journal = journal
        target = Target(
            options: configuration.definition.options, surroundings: surroundings,
            bootInstance: Target.newBootInstance(),
            now: .now(), observe: { journal.record($0) })
        for (position, processor) in configuration.reactors.processors.enumerated() {
            reactors.append(Reactor(name: "reactor-\(position)", processor: processor))
        }
    }

    /// Starts the reactors; the target has nothing yet.
    func start() throws(TercetError) {
        for reactor in reactors {
            let fabric: VerbsFabric
            do throws(TercetError) {
                fabric = try VerbsFabric.open()
            } catch {
                throw TercetError(error.code, "RDMA cannot be used", cause: error)
            }
            let group = ReactorGroup(target, RDMATargetTransport(fabric, target.options), on: reactor)
            groups.append(group)
            group.join()
            reactor.start()
        }
    }

    /// Makes the target what a configuration says. Returns, for people, what has been done; `missing` is what has failed.
    ///
    /// - Parameter reopened: namespaces that are made anew although nothing of what is said of them differs.
    /// - Throws: where a namespace in memory would lose its contents; nothing has been done then.
    func apply(
        _ desired: Configuration, reopening reopened: [TargetPart] = []
    ) async throws(TercetError) -> [String] {
        let report = try await target.apply(desired.definition, reopening: reopened)
        failed = report.missing
        defer { told = desired }
        return report.done + desired.linesForRestart(since: told)
    }

    /// Looks for devices that grew, shrank, vanished or fail; each second or so.
    func refresh() {
        target.refreshNamespaces()
        reportFailures()
        journal.tick()
    }

    /// Ends all connections and all threads.
    func stop() async {
        for (reactor, group) in zip(reactors, groups) {
            await group.close()
            reactor.stop()
        }
        journal.flush()
    }
}

extension ReactorChoice {
    /// Ordinals of the processors, among those that the process may use.
    var processors: [Int] {
        switch self {
        case .automatic: Array(0..<max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
        case .count(let count): Array(0..<count)
        case .processors(let ordinals): ordinals
        }
    }
}
