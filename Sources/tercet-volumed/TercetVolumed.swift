import ArgumentParser
import Base
import ControlPlane
import Foundation
import Logging
import RegistryBackend
import Succession
import TargetConfiguration
import Terminal
import Trace
import UnixSockets
import VolumeDriver
import VolumedConfiguration

@main
struct TercetVolumed: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tercet-volumed",
        abstract: "Attaches replicated volumes and serves them as block devices.",
        discussion: """
            With a configuration file:   tercet-volumed --config /etc/tercet/tercet-volumed.json
            Without one:                 tercet-volumed --nbd /run/tercet/nbd.sock --volume \
            db=192.0.2.1:4420/NQN/1,192.0.2.2:4420/NQN/1,192.0.2.3:4420/NQN/1

            NBD clients reach the volume at nbd+unix:///db?socket=/run/tercet/nbd.sock. --device serves a device of this machine \
            in the same way: a block device, a file, ram:SIZE or null:SIZE. Under a service manager that passes sockets \
            (LISTEN_FDS) --nbd is left out. Over TCP, --nbd tcp://ADDRESS:PORT, clients need a key of --nbd-keys, which they reach \
            with TLS: nbds://USER@ADDRESS/db?tls-psk-file=FILE. SIGTERM ends the daemon in good order, SIGUSR1 writes what each thread did last \
            to a file.

            Exit status: 0 where a signal ended it and all volumes are clean, 1 where it could not start, or a volume \
            is not clean, 2 for wrong usage.
            """)

    @Option(name: .long, help: ArgumentHelp("Configuration file, in JSON.", valueName: "FILE"))
    var config: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "A volume, by the name of its export and its members ADDRESS:PORT/SUBNQN/NSID (SUBNQN/NSID where nvme-fabrics.conf knows the "
                + "subsystem), or by its name in the registry. Repeatable.", valueName: "NAME[=MEMBER,MEMBER,MEMBER]"))
    var volume: [String] = []

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The registry of volumes: \(RegistryBackend.allowed) (default: TERCET_REGISTRY).", valueName: "place"))
    var registry: String?

    @Option(name: .long, help: ArgumentHelp("A device of this machine to serve. Repeatable.", valueName: "[NAME=]PATH"))
    var device: [String] = []

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Unix socket for NBD clients, or address for them. Repeatable.", valueName: "PATH|tcp://ADDRESS[:PORT]"))
    var nbd: [String] = []

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Keys of NBD clients over TCP, a line USER:KEY each, as psktool writes it.", valueName: "FILE"))
    var nbdKeys: String?

    @Flag(
        name: .long,
        help: "Serve NBD clients over TCP without TLS: whoever reaches the address reads and writes everything.")
    var nbdInsecure = false

    @Flag(
        help: ArgumentHelp(
            "Serve one NBD client at the standard input, a socket, and end with it."
        ))
    var single = false

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Address to offer volumes to NVMe-oF hosts at, each as the subsystem nqn.2014-08.org.nvmexpress:uuid:UUID.",
            valueName: "ADDRESS[:PORT]"))
    var nvme: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The name of this daemon among several that share the volumes of a registry: one at a time serves each.",
            valueName: "NAME"))
    var daemon: String?

    @Option(
        name: .long,
        help: ArgumentHelp("A number of this daemon's own among those, 0 to 15.", valueName: "NUMBER"))
    var place: Int?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Seconds without a sign of life after which another of those takes the volumes over (default: 2).",
            valueName: "SECONDS"))
    var lease: Int?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "A volume that is to be served here rather than by another of those; may be given several times.",
            valueName: "NAME"))
    var prefer: [String] = []

    @Option(
        name: .long,
        help: ArgumentHelp(
            "When such a volume comes back here: never, quiet (once nobody has used it for two seconds), or always (default: quiet).",
            valueName: "WHEN"))
    var failBack: FailBack?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Seconds for which this daemon keeps a volume at the least before it gives it back (default: 30).",
            valueName: "SECONDS"))
    var stay: Int?

    @Flag(
        name: .customLong("kernel-nbd"),
        help:
            "Make each volume and device a block device of this machine, /dev/tercet/NAME, by the kernel's NBD client.")
    var kernelNBD = false

    @Flag(
        name: .long,
        help:
            "Make each volume and device a block device of this machine, /dev/tercet/NAME, by the kernel's ublk driver (Linux 6.5)."
    )
    var ublk = false

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Unix socket for control, as tercet volume list uses it (default: volumed.sock in RUNTIME_DIRECTORY, or in "
                + "/run/tercet if that folder is there; none: no socket).",
            valueName: "PATH"))
    var control: String?

    @Option(name: .long, help: "Threads that serve, each on a processor of its own.")
    var reactors: Int?

    @Option(
        name: .long,
        help: "NQN of this host towards the members (default: that of nvme-fabrics.conf, else /etc/nvme/hostnqn).")
    var hostnqn: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Take the place of the daemon at this control socket: its sockets and clients, without an error for them.",
            valueName: "SOCKET"))
    var takeOverFrom: String?

    @Flag(name: .long, help: "Fence hosts that have a volume attached.")
    var takeOver = false

    @Option(
        name: .long,
        help:
            "Milliseconds after which an NBD client that sends half of a message, or takes no answers, loses its connection."
    )
    var clientPatience: UInt64?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Answer HTTP with /metrics in Prometheus' text form, /livez and /readyz; PATH is a Unix socket.",
            valueName: "ADDRESS:PORT|PATH"))
    var metrics: String?

    @Option(
        name: .long,
        help:
            "Form of the log on standard error; journal: entries of systemd's journal (default: journal under systemd, else text)."
    )
    var logFormat: LogFormat?

    @Option(name: .long, help: "Least level that is logged.")
    var logLevel: Logger.Level = .info
}

extension TercetVolumed {
    @MainActor
    static func main() async {
        let signals = Signals([SIGTERM, SIGINT, SIGUSR1])
        let command = parseOrExit()
        Foundation.exit(await command.serve(signals))
    }

    private func configuration() async throws(TercetError) -> VolumedConfiguration {
        var configuration: VolumedConfiguration
        if let config {
            guard volume.isEmpty, registry == nil, device.isEmpty, nbd.isEmpty, nbdKeys == nil, !nbdInsecure,
                reactors == nil,
                hostnqn == nil, !takeOver,
                clientPatience == nil, control == nil, nvme == nil, !kernelNBD, !ublk, daemon == nil, place == nil,
                lease == nil, prefer.isEmpty, failBack == nil, stay == nil
            else {
                throw TercetError(
                    .invalid, "--config is given with other options; allowed: all of it in the file, or nothing")
            }
            configuration = try VolumedConfiguration(contentsOf: config)
            try configuration.completeHostNQN()
            try await RegisteredVolumes.complete(&configuration)
            try configuration.checkSuccession(isTakingOver: takeOverFrom != nil)
            return configuration
        }
        configuration = try VolumedConfiguration(
            volumes: volume,
            registered: try await RegisteredVolumes.find(volume.filter { !$0.contains("=") }, in: registry),
            devices: device)
        for place in nbd { try configuration.serveNBD(at: place) }
        configuration.registry = registry
        configuration.nbdKeyFile = nbdKeys
        configuration.isNBDInsecure = nbdInsecure
        try configuration.checkNBDKeys(keys: "--nbd-keys FILE", insecure: "--nbd-insecure")
        configuration.controlSocket = control
        if let nvme {
            guard let address = SocketAddress(nvme, defaultPort: 4420) else {
                throw TercetError(.invalid, "--nvme \(nvme): is no address; allowed: ADDRESS or ADDRESS:PORT")
            }
            configuration.nvmeAddress = address
        }
        configuration.hostNQN = hostnqn
        try configuration.completeHostNQN()
        if let reactors {
            guard (1...256).contains(reactors) else {
                throw TercetError(.invalid, "--reactors \(reactors): is out of range; allowed: 1 to 256")
            }
            configuration.reactors = reactors
        }
        if let clientPatience { configuration.clientPatienceMilliseconds = max(1, clientPatience) }
        for place in configuration.volumes.indices { configuration.volumes[place].takesOver = takeOver }
        guard !kernelNBD || !ublk else {
            throw TercetError(
                .invalid, "--kernel-nbd and --ublk would make two block devices of one name; allowed: one of them")
        }
        if kernelNBD || ublk {
            let kind = ublk ? VolumedConfiguration.ExportKind.ublk : .kernelNBD
            for place in configuration.volumes.indices { configuration.volumes[place].exports.insert(kind) }
            for place in configuration.devices.indices { configuration.devices[place].exports.insert(kind) }
        }
        configuration.succession = try succession()
        try configuration.checkSuccession(isTakingOver: takeOverFrom != nil)
        return configuration
    }

    /// Why no client can come, or in more than one way; `nil` where all is well.
    private func problem(_ configuration: VolumedConfiguration, hasInherited: Bool) -> String? {
        let hasPlace = configuration.nbdSocket != nil || !configuration.nbdAddresses.isEmpty
        if !hasPlace, configuration.nvmeAddress == nil, !hasInherited,
            !configuration.usesKernelNBD, !configuration.usesUblk, !single
        {
            return
                "no client could come: --nbd PATH, a service manager's socket, --nvme ADDRESS, --kernel-nbd, --ublk or --single is needed"
        }
        if single, hasPlace || hasInherited || takeOverFrom != nil {
            return
                "--single serves one client and ends with it: --nbd, --take-over-from and a service manager's socket are to be left out"
        }
        if hasPlace, hasInherited {
            return "a service manager has passed a socket: --nbd is to be left out"
        }
        return nil
    }

    /// Tells why the daemon does not begin; returns the exit status: 2 where the command line is wrong.
    private func refuse(_ problem: String, isCommandLine: Bool) -> Int32 {
        writeToStandardError("tercet-volumed: \(problem)\n")
        return isCommandLine ? 2 : 1
    }

    /// Serves until it is told to stop; returns the exit status.
    @MainActor
    private func serve(_ signals: Signals) async -> Int32 {
        let (level, format) = (logLevel, logFormat ?? .usual)
        let threshold = LogThreshold(level)
        let events = ControlBroadcast(method: DaemonEvent.notification)
        let logger = Logger(label: "tercet-volumed") { _ in
            LineLogHandler("tercet-volumed", format: format, threshold: threshold) { line in
                events.tell {
                    DaemonEvent(
                        time: line.time, level: line.level.rawValue, message: line.message, details: line.details)
                }
            }
        }
        let journal = Journal(logger)
        TraceDump.prepare(program: "tercet-volumed", folder: TraceDump.temporaryFolder)
        TraceDump.catchTraps()
        let configuration: VolumedConfiguration
        do throws(TercetError) { configuration = try await self.configuration() } catch {
            journal.flush()
            return refuse(error.description, isCommandLine: config == nil)
        }
        let daemon: Daemon
        do {
            let store = DescriptorStore()
            let all = InheritedDescriptors.take()
            func listeners(_ isMeant: (String) -> Bool) throws(TercetError) -> [UnixListener] {
                var found: [UnixListener] = []
                for entry in all where isMeant(entry.name) {
                    found.append(try UnixListener(inherited: entry.descriptor))
                }
                return found
            }
            let controls = try listeners { $0 == Self.controlName }
            let inherited = try listeners { $0 != Self.controlName && $0 != ClientStore.name }
            if let problem = problem(configuration, hasInherited: !inherited.isEmpty) {
                journal.flush()
                return refuse(problem, isCommandLine: config == nil)
            }
            let left = ClientStore.take(all.filter { $0.name == ClientStore.name }.map(\.descriptor))
            store.map { ClientStore($0).clear() }
            let taken = try takeOverFrom.map { path throws(TercetError) in try HandOver.receive(from: path) } ?? left
            let only = try single ? SingleClient.take() : nil
            daemon = try Daemon(
                configuration, inherited: inherited + (taken?.listeners ?? []), tcp: taken?.tcpListeners ?? [],
                single: only, store: store, journal: journal)
            try await daemon.start()
            let made =
                controls.isEmpty
                ? try await daemon.makeControl(at: configuration.controlSocket, isDefault: !single) : nil
            if let control = controls.first ?? made {
                if let path = control.boundPath {
                    try await daemon.takeOnKept(besideSocket: path, former: takeOverFrom)
                }
                await daemon.answer(at: control, events: events)
            }
            if let metrics { try await daemon.answerMetrics(at: metrics) }
            if let taken { await daemon.kernel.take(taken.sessions) }
            await daemon.begin(taken)
        } catch {
            journal.flush()
            return refuse("\(error)", isCommandLine: false)
        }
        return await watch(daemon, signals, journal)
    }

    /// Tells when the daemon serves, and does as signals say until it is to end; returns the exit status.
    @MainActor
    private func watch(_ daemon: Daemon, _ signals: Signals, _ journal: Journal) async -> Int32 {
        let notification = ServiceNotification()
        var isServing = false
        while true {
            let patience = isServing ? min(1000, notification.watchdogMilliseconds ?? 1000) : Self.beginningMilliseconds
            switch signals.wait(milliseconds: patience) {
            case SIGTERM, SIGINT:
                notification.stopping()
                journal.write(.notice, "stopping")
                let unclean = await daemon.stop()
                journal.flush()
                return unclean.isEmpty ? 0 : 1
            case SIGUSR1:
                _ = try? await daemon.dumpTrace()
            default:
                if isServing {
                    await daemon.refresh()
                    if await daemon.isAlive() { notification.beat() }
                    continue
                }
                switch await daemon.beginning {
                case .underWay: continue
                case .failed(let error):
                    journal.flush()
                    return refuse("\(error)", isCommandLine: false)
                case .serving:
                    isServing = true
                    journal.write(.notice, "serving", await daemon.summary)
                    notification.ready("serving")
                }
            }
        }
    }

    /// The name of the socket that a service manager passes for control (FileDescriptorName=, systemd.socket(5)).
    private static let controlName = "control"
    /// How often it is looked whether the volumes are attached.
    private static let beginningMilliseconds = 2
}
