import Base
import FabricInterface
import Foundation
import NVMeAuthentication
import NVMeInitiator
import NVMeSpec
import RDMATransport
import Reactor
import VerbsFabric

/// The threads of one run of the command, and the groups on them.
final class Session {
    let reactors: [Reactor]
    let groups: [InitiatorGroup]

    /// - Parameters:
    ///   - count: threads, each with one I/O queue.
    ///   - waiting: how they wait for answers.
    init(reactors count: Int = 1, waiting: Waiting = .adaptive) throws {
        var reactors: [Reactor] = []
        var groups: [InitiatorGroup] = []
        for index in 0..<count {
            let fabric = try VerbsFabric.open()
            let reactor = Reactor(name: "tercet \(index)", options: ReactorOptions(waiting: waiting))
            let group = InitiatorGroup(
                RDMAInitiator(fabric), keys: .environment(), ring: reactor.ring)
            reactor.add(group)
            reactors.append(reactor)
            groups.append(group)
        }
        self.reactors = reactors
        self.groups = groups
        for reactor in reactors { reactor.start() }
    }

    /// Connects a controller with one I/O queue on each thread.
    func connect(
        _ options: ControllerOptions, queues: Int? = nil,
        observer: @escaping @Sendable (ControllerEvent) -> Void = { _ in }
    ) async throws -> Controller {
        let controller = Controller(
            options, home: groups[0], groups: Array(groups.prefix(queues ?? groups.count)), observer: observer)
        do { try await controller.connect() } catch { throw TercetError(.unavailable, "\(error)") }
        return controller
    }

    /// Ends the threads. Controllers are to be closed before.
    func end() {
        for reactor in reactors { reactor.stop() }
        for group in groups { group.close() }
    }
}

extension Controller {
    /// The namespace that the user means: the one with the identifier, or the only one.
    func namespace(_ nsid: UInt32?) throws -> NamespaceDescription {
        let known = namespaces
        let names = known.map { String($0.nsid) }.joined(separator: ", ")
        guard let nsid else {
            guard known.count == 1 else {
                throw TercetError(
                    known.isEmpty ? .notFound : .invalid,
                    known.isEmpty
                        ? "the subsystem shows this host no namespace" : "which namespace? --nsid is one of \(names)")
            }
            return try usable(known[0])
        }
        guard let found = known.first(where: { $0.nsid == nsid }) else {
            throw TercetError(
                .notFound,
                "no namespace \(nsid); " + (known.isEmpty ? "this host is shown none" : "there are: \(names)"))
        }
        return try usable(found)
    }

    private func usable(_ namespace: NamespaceDescription) throws -> NamespaceDescription {
        if let problem = namespace.problem { throw TercetError(.failed, "namespace \(namespace.nsid): \(problem)") }
        return namespace
    }
}
