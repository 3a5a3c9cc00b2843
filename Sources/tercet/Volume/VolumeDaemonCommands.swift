import ArgumentParser
import Base
import ControlPlane
import Foundation

/// The control socket of a volume daemon.
struct DaemonArguments: ParsableArguments {
    static let usualSocket = "/run/tercet/volumed.sock"

    @Option(
        name: .long,
        help: ArgumentHelp("Control socket of tercet-volumed (default: \(usualSocket)).", valueName: "PATH"))
    var socket: String?

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    var path: String { socket ?? Self.usualSocket }

    func call<Result: Decodable>(
        _ method: String, _ parameters: some Encodable, returning type: Result.Type
    ) throws -> Result {
        try withDaemon(at: path) { try $0.call(method, parameters, returning: type) }
    }
}

/// A daemon as a whole.
struct VolumeStateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "state", abstract: "Show a running tercet-volumed: its addresses, threads, room and volumes.")

    @OptionGroup var daemon: DaemonArguments

    func run() throws {
        let state = try daemon.call(VolumeMethod.get, NoParameters(), returning: VolumeDaemonState.self)
        if daemon.json { return try printJSON(state) }
        print("up for \(Int(state.uptimeSeconds)) s, as host \(state.hostNQN)")
        if let name = state.daemon { print("shares volumes with other daemons as \(name)") }
        print("registry: \(state.registry ?? "none")")
        let places = state.reactorPlaces.map(\.text).joined(separator: ", ")
        print("reactors: \(state.reactorPlaces.count), on processors \(places)")
        if !state.devices.isEmpty { print("RDMA devices: \(state.devices.map(\.text).joined(separator: ", "))") }
        print("NBD clients: \(state.nbd.isEmpty ? "none" : state.nbd.joined(separator: ", "))")
        print("NVMe-oF hosts: \(state.nvme ?? "none")")
        print("attached by control: \(state.room.present) of \(state.room.most)")
        for volume in state.volumes { print(volume.line) }
    }
}

/// The volumes of a registry, or of a daemon.
struct VolumeListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the volumes of a registry, or of a running tercet-volumed.",
        discussion: "Where a registry is given and no --socket, its volumes are listed; otherwise the daemon's.")

    @OptionGroup var daemon: DaemonArguments
    @OptionGroup var registry: RegistryArguments

    func run() async throws {
        if registry.place != nil, daemon.socket == nil {
            return try await showRegistry(try await registry.open(), json: daemon.json)
        }
        let volumes = try daemon.call(VolumeMethod.list, NoParameters(), returning: [VolumeSummary].self)
        if daemon.json { return try printJSON(volumes) }
        for volume in volumes { print(volume.line) }
    }
}

extension VolumeSummary {
    /// For people.
    fileprivate var line: String {
        let names = exports.map { "\"\($0)\"" }.joined(separator: ", ")
        var line = "\(name): \(phase), \(bytes) bytes, exports: \(names.isEmpty ? "none" : names), "
        if !blockDevices.isEmpty { line += blockDevices.joined(separator: ", ") + ", " }
        line += "sessions: \(sessions)"
        if !uuid.isEmpty { line += ", \(uuid)" }
        if let ownership { line += ", \(ownership.words)" }
        return line
    }
}

/// Why a volume is as it is.
struct VolumeExplainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Say why a volume of a running tercet-volumed is as it is, since when, and what is needed.",
        discussion: "Exit status: 0 where nothing is needed, 1 where something is, or the daemon cannot be asked.")

    @Argument(help: "The volume's name.")
    var name: String

    @OptionGroup var daemon: DaemonArguments

    func run() throws {
        let explanation = try daemon.call(
            VolumeMethod.explain, VolumeName(name: name), returning: VolumeExplanation.self)
        if daemon.json {
            try printJSON(explanation)
        } else {
            for line in explanation.lines { print(line) }
        }
        if !explanation.needs.isEmpty { throw ExitCode(1) }
    }
}

/// Has another daemon serve a volume.
struct VolumeHandOverCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hand-over",
        abstract: "Hand a volume over from a running tercet-volumed to another one that stands by.",
        discussion: """
            The daemon tells NVMe-oF hosts that its path is inaccessible, ends what is under way, and detaches; then the volume is \
            the other daemon's, which attaches it. Hosts with paths to both go on by themselves. This prints how long the first \
            part took.
            """)

    @Argument(help: "The volume's name.")
    var name: String

    @Option(help: "The daemon that is to serve it (default: any that stands by).")
    var to: String?

    @OptionGroup var daemon: DaemonArguments

    func run() throws {
        let done = try daemon.call(
            VolumeMethod.handOverVolume, VolumeHandOver(name: name, successor: to), returning: VolumeHandOver.self)
        if daemon.json { return try printJSON(done) }
        let time = (done.milliseconds ?? 0).formatted(.number.precision(.fractionLength(0)).grouping(.never))
        print("\(done.name): handed over to \(done.successor ?? "another daemon"), detached and passed in \(time) ms")
    }
}

/// Marks what a volume holds.
struct VolumeMarkCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mark",
        abstract: "Mark the contents of a volume of a running tercet-volumed: \"being formatted\" or \"written\".",
        discussion: """
            A volume is blank until the first write, which marks it as written before it is done. Where it is marked as \
            \"being formatted\" before, it stays so until it is marked as written: a program that makes a file system and dies \
            on the way finds that there was nothing to be lost. The mark is durable when this returns, and is never taken back.
            """)

    @Argument(help: "The volume's name.")
    var name: String

    @Argument(help: "The mark.")
    var contents: String

    @OptionGroup var daemon: DaemonArguments

    func run() throws {
        let mark = try daemon.call(
            VolumeMethod.mark, ContentsMark(name: name, contents: contents), returning: ContentsMark.self)
        if daemon.json { return try printJSON(mark) }
        print("\(mark.name): \(mark.contents)")
    }
}

/// Limits a volume's users.
struct VolumeLimitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "limit",
        abstract: "Limit what the users of a volume of a running tercet-volumed may have, while it runs.",
        discussion:
            "Limits that are not given stay as they are. Without any this prints them. A restart of the daemon forgets them: "
            + "those of its configuration file count then.")

    @Argument(help: "The volume's name.")
    var name: String

    @Option(help: "I/Os a second; 0 for no limit.")
    var ios: UInt64?

    @Option(help: ByteCount.help("Bytes a second; 0 for no limit."))
    var bytes: String?

    @Option(help: "The volume's weight where volumes compete, beside the others' (100).")
    var weight: UInt32?

    @OptionGroup var daemon: DaemonArguments

    private func byteLimit() throws -> UInt64? {
        guard let bytes else { return nil }
        guard let limit = ByteSize.parse(bytes) else { throw ValidationError("--bytes \(bytes): is no size") }
        return UInt64(limit)
    }

    func run() throws {
        let limits = try daemon.call(
            VolumeMethod.limit,
            LimitsRequest(
                name: name, iosPerSecond: ios, bytesPerSecond: try byteLimit(), weight: weight),
            returning: LimitsRequest.self)
        if daemon.json { return try printJSON(limits) }
        func text(_ limit: UInt64?) -> String { (limit ?? 0) == 0 ? "no limit" : "\(limit ?? 0)" }
        print(
            "\(name): I/Os a second: \(text(limits.iosPerSecond)), bytes a second: \(text(limits.bytesPerSecond)), weight: "
                + "\(limits.weight ?? 0)")
    }
}

/// The rates of a daemon's volumes, live.
struct VolumeTopCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top", abstract: "Show live what the volumes of a running tercet-volumed do, and their members.",
        discussion: """
            A line each interval and volume: its users' reads and writes a second, MiB a second, mean latency, 99th percentile, \
            failures, I/Os under way, those that had to wait for an overlapping one, and commands sent to members again. Below \
            it a line for each member: commands a second (those of copies too), commands under way, its average latency, its \
            state. Ctrl-C ends it.
            """)

    @Argument(help: "The volume; all of them if not given.") var name: String?
    @OptionGroup var looks: LiveLooks
    @OptionGroup var daemon: DaemonArguments

    func run() throws {
        try looks.run {
            try daemon.call(VolumeMethod.statistics, NoParameters(), returning: VolumeCounters.self)
        } show: { before, now in
            let rows = VolumeRates(before, now).rows.filter { name == nil || $0.volume == name }
            if rows.isEmpty, let name { throw TercetError(.notFound, "no volume \"\(name)\" is attached") }
            if daemon.json { return try printJSON(rows) }
            LiveLooks.clear()
            print(VolumeRates.header)
            for row in rows { for line in row.lines { print(line) } }
        }
    }
}
