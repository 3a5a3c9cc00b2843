import Base
import BlockInterface
import ControlPlane
import Glibc
import JSON
import Logging
import NVMeTarget
import TargetConfiguration
import TargetInterface
import UnixSockets

/// The methods of the control socket.
extension Service {
    /// Answers control methods at a socket. `events` are those of the log.
    func answer(at listener: UnixListener, events: ControlBroadcast) {
        let server = ControlServer(listener, methods(events))
        server.start()
        control = server
    }

    private nonisolated func methods(_ events: ControlBroadcast) -> ControlMethods {
        var methods = ControlMethods()
        for edit in ConfigurationEdit.all {
            methods.add(edit.method) { given in try await self.change(edit, ConfigurationValue(given)) }
        }
        methods.add(TargetMethod.get, NoParameters.self) { (_) async throws(TercetError) -> TargetState in
            await self.state()
        }
        methods.add(TargetMethod.save, SaveRequest.self) { (given) async throws(TercetError) -> SaveRequest in
            SaveRequest(path: try await self.save(given.path))
        }
        methods.add(TargetMethod.reload, NoParameters.self) { (_) async throws(TercetError) -> ChangeReport in
            try await self.reload()
        }
        methods.add(TargetMethod.statistics, StatisticsRequest.self) {
            (given) async throws(TercetError) -> TargetStatistics in
            TargetStatistics(self.target, given.queues == true ? await self.target.queueLoads() : nil)
        }
        methods.add(TargetMethod.dumpTrace, NoParameters.self) { (_) async throws(TercetError) -> TraceFileName in
            TraceFileName(path: try await self.dumpTrace())
        }
        methods.add(TargetMethod.drain, DrainRequest.self) { (given) async throws(TercetError) -> DrainReport in
            try await self.drain(given)
        }
        methods.add(TargetMethod.shutdown, NoParameters.self) { (given) async throws(TercetError) -> NoParameters in
            self.logger.notice("control: the daemon is told to stop")
            kill(getpid(), SIGTERM)
            return given
        }
        addPoolMethods(to: &methods)
        methods.addWatch(events)
        return methods
    }

    private nonisolated func addPoolMethods(to methods: inout ControlMethods) {
        methods.add(PoolMethod.create, PoolCreateRequest.self) {
            (given) async throws(TercetError) -> PoolState.Namespace in try await self.createInPool(given)
        }
        methods.add(PoolMethod.grow, PoolGrowRequest.self) { (given) async throws(TercetError) -> NoParameters in
            try await self.growInPool(given)
            return NoParameters()
        }
        for (method, change) in [
            (PoolMethod.attach, PoolChange.attach), (PoolMethod.detach, PoolChange.detach),
            (PoolMethod.delete, PoolChange.delete),
        ] as [(String, @Sendable (UInt32) -> PoolChange)] {
            methods.add(method, PoolNamespaceRequest.self) { (given) async throws(TercetError) -> NoParameters in
                try await self.change(given.subsystem, change(given.nsid))
                return NoParameters()
            }
        }
    }

    private func state() -> TargetState {
        TargetState(
            configuration: JSONValue(written.document.value.withoutKeys), file: written.file ?? "",
            isSaved: written.isSaved,
            reactorPlaces: reactorPlaces,
            devices: ProcessorPlaces.this.devices.map { TargetState.Device(name: $0.name, node: $0.node) },
            listeners: target.reached.listeners.map(\.description),
            subsystems: target.subsystems.map { subsystem in
                TargetState.Subsystem(
                    nqn: subsystem.nqn, isDrained: drained.contains(subsystem.nqn),
                    namespaces: target.devices.filter { $0.subsystem == subsystem.nqn }.map { entry in
                        TargetState.Namespace(
                            nsid: entry.nsid, device: entry.device.name, blocks: entry.device.geometry.blockCount,
                            blockSize: entry.device.geometry.blockSize, failures: UInt64(entry.device.failures.count))
                    },
                    controllers: subsystem.connectedControllers.map { controller in
                        TargetState.Controller(
                            id: controller.id, host: controller.host, address: controller.address?.description ?? "",
                            ioQueues: controller.ioQueues)
                    }, pool: poolState(of: subsystem.nqn))
            }, missing: missing.map { MissingReport($0) })
    }
}

extension TargetStatistics {
    /// Reads all counters: not on a reactor. Queues are those given.
    init(_ target: Target, _ queues: [QueueLoad]? = nil) {
        self.init(
            uptimeSeconds: Double(target.uptimeNanoseconds(.now())) / 1e9,
            subsystems: target.counters.map { subsystem in
                Subsystem(
                    nqn: subsystem.nqn, controllers: subsystem.controllers, hosts: subsystem.hosts.map { Host($0) },
                    namespaces: subsystem.namespaces.map { Namespace($0) },
                    queues: queues?.filter { $0.subsystem == subsystem.nqn }.map { Queue($0) })
            })
    }
}

extension TargetStatistics.Queue {
    fileprivate init(_ load: QueueLoad) {
        self.init(
            host: load.host, controller: load.controllerID, queue: load.queueID, reactor: load.reactor,
            entries: load.entries, underWay: load.underWay, answered: load.answered)
    }
}

extension TargetStatistics.Host {
    fileprivate init(_ host: SubsystemCounters.Host) {
        let counts = host.statistics
        self.init(
            host: host.nqn,
            commands: CommandCounters(
                reads: counts.readCommands, writes: counts.writeCommands, bytesRead: counts.bytesRead,
                bytesWritten: counts.bytesWritten, failed: counts.failedCommands,
                readSeconds: Double(counts.readNanoseconds) / 1e9, writeSeconds: Double(counts.writeNanoseconds) / 1e9),
            others: counts.otherCommands, readLatency: [LatencyBucket](host.reads),
            writeLatency: [LatencyBucket](host.writes),
            waitsForMemory: counts.waitsForMemory, waitsForReadDepth: counts.waitsForReadDepth,
            waitsForSendQueue: counts.waitsForSendQueue, protocolErrors: counts.protocolErrors,
            mediaErrors: counts.mediaErrors)
    }
}

extension TargetStatistics.Namespace {
    fileprivate init(_ namespace: SubsystemCounters.Namespace) {
        self.init(
            nsid: namespace.nsid,
            commands: CommandCounters(
                reads: namespace.reads.commands, writes: namespace.writes.commands, bytesRead: namespace.reads.bytes,
                bytesWritten: namespace.writes.bytes, failed: namespace.failed,
                readSeconds: Double(namespace.reads.nanoseconds) / 1e9,
                writeSeconds: Double(namespace.writes.nanoseconds) / 1e9),
            bytes: namespace.geometry.byteCount, deviceFailures: namespace.deviceFailures)
    }
}

// MARK: JSON

extension ConfigurationValue {
    /// Parameters of a method.
    init(_ value: JSONValue) {
        self =
            switch value {
            case .null: .null
            case .boolean(let value): .boolean(value)
            case .integer(let value): .number(String(value))
            case .unsigned(let value): .number(String(value))
            case .number(let value): .number("\(value)")
            case .text(let text): .text(text)
            case .array(let elements): .array(elements.map { ConfigurationValue($0) })
            case .object(let object):
                .object(object.sorted { $0.key < $1.key }.map { Entry($0.key, ConfigurationValue($0.value)) })
            }
    }
}

extension JSONValue {
    init(_ value: ConfigurationValue) {
        self =
            switch value {
            case .null: .null
            case .boolean(let value): .boolean(value)
            case .number(let text):
                Int64(text).map { .integer($0) } ?? UInt64(text).map { .unsigned($0) } ?? .number(Double(text) ?? 0)
            case .text(let text): .text(text)
            case .array(let elements): .array(elements.map { JSONValue($0) })
            case .object(let entries):
                .object(Dictionary(entries.map { ($0.key, JSONValue($0.value)) }) { first, _ in first })
            }
    }
}
