import Base
import BlockInterface
import Foundation
import Glibc
import KernelNBD
import Logging
import NBDProtocol
import NBDServer
import Reactor
import VolumedConfiguration

/// Exports as block devices of this machine: the kernel is an NBD client of the server here, over a pair of sockets.
///
/// A device outlives the daemon. The next one finds it by the name of its backend, and gives it a new connection, or goes on with
/// the one that the former daemon has handed over.
actor KernelExports {
    /// A device of the kernel.
    private struct Entry {
        var export: Export
        var index: Int32
        var settings: KernelNBD.Settings
        var link: KernelDeviceLink
        /// It is being taken back: the end of its connection is no news.
        var isEnding = false
    }

    private let settings: VolumedConfiguration.KernelSettings
    private let servers: [ExportServer]
    private let reactors: [Reactor]
    private let journal: Journal
    /// Netlink calls block: they have a thread of their own.
    private let queue = DispatchQueue(label: "kernel nbd")
    private var entries: [String: Entry] = [:]
    /// Connections that a former daemon has handed over, by their exports.
    private var handed: [String: HandedSession] = [:]
    private var isStopping = false

    /// How long the kernel has to notice that a connection has died, before it is given another one.
    private static let noticeMilliseconds: UInt64 = 10_000

    init(
        _ settings: VolumedConfiguration.KernelSettings, servers: [ExportServer], reactors: [Reactor], journal: Journal
    ) {
        self.settings = settings
        self.servers = servers
        self.reactors = reactors
        self.journal = journal
    }

    /// Throws where this kernel has no such devices.
    func check() async throws(TercetError) {
        try await withKernel { _ throws(TercetError) in }
    }

    /// Takes the connections of a former daemon, until their exports are there.
    func take(_ sessions: [HandedSession]) {
        for session in sessions where session.isDevice { handed[session.export] = session }
    }

    /// The path of an export's device; `nil` where it has none.
    func path(of name: String) -> String? { entries[name].map { KernelDevice.path($0.index) } }

    /// The block devices that a device is.
    func exports(of device: any BlockDevice) -> [(name: String, path: String)] {
        entries.values.filter { $0.export.device === device }
            .map { ($0.export.name, $0.link.path) }.sorted { $0.0 < $1.0 }
    }

    nonisolated func link(_ name: String) throws(TercetError) -> KernelDeviceLink {
        try KernelDeviceLink(folder: settings.folder, name: name)
    }

    // MARK: Adding

    /// Makes an export a block device, or gives the one that it was before a new connection.
    ///
    /// - Parameters:
    ///   - backend: names what is behind it.
    ///   - attachment: the key of the volume's attachment; 0 for a device of this machine.
    ///   - predecessor: the key of the attachment before.
    func add(
        _ export: Export, backend: String, attachment: UInt64 = 0, predecessor: UInt64 = 0
    ) async throws(TercetError) {
        guard entries[export.name] == nil else {
            throw TercetError(.exists, "\"\(export.name)\" is a block device already")
        }
        let link = try link(export.name)
        let geometry = export.device.geometry
        let reactor = reactors[export.home]
        _ = await reactor.run { KernelDevice.serveAsBlockDevice() }
        var entry = Entry(
            export: export, index: -1,
            settings: KernelNBD.Settings(
                size: geometry.byteCount, blockSize: min(geometry.blockSize, 4096),
                flags: export.deviceSession.flags.rawValue,
                requestTimeoutSeconds: settings.requestTimeoutSeconds,
                deadConnectionTimeoutSeconds: settings.deadConnectionTimeoutSeconds, backend: backend),
            link: link)
        let found = try await former(backend, link, predecessor)
        if found == nil, let session = handed.removeValue(forKey: export.name) { close(session.descriptor) }
        if let found {
            entry.index = found
            entries[export.name] = entry
            if let session = handed.removeValue(forKey: export.name) {
                await serve(entry, session)
            } else {
                try await connectAnew(entry)
            }
        } else {
            entry.index = try await connect(entry)
            entries[export.name] = entry
        }
        try link.write(
            KernelDeviceState(index: entry.index, attachment: attachment), device: KernelDevice.path(entry.index))
        journal.write(
            .notice, found == nil ? "block device made" : "block device served again",
            ["export": "\(export.name)", "device": "\(KernelDevice.path(entry.index))", "link": "\(link.path)"])
    }

    /// The device that was this export's, where what the system has cached of it is still true. One whose volume another host has
    /// had since is ended: to go on would write old data over new.
    private func former(
        _ backend: String, _ link: KernelDeviceLink, _ predecessor: UInt64
    ) async throws(TercetError) -> Int32? {
        guard let found = try await queue.run({ () throws(TercetError) in KernelDevice.find(backend: backend) }) else {
            return nil
        }
        if let state = link.state, state.index == found, state.isContinued(from: predecessor) { return found }
        journal.write(
            .error, "block device ended: another host may have had the volume since its daemon died",
            ["device": "\(KernelDevice.path(found))", "link": "\(link.path)"])
        try await disconnect(found)
        return nil
    }

    private func connect(_ entry: Entry) async throws(TercetError) -> Int32 {
        let socket = try await connection(entry)
        defer { close(socket) }
        let settings = entry.settings
        return try await withKernel { kernel throws(TercetError) in try kernel.connect(socket, settings) }
    }

    /// A connection to an export's server, with its session begun; returns the kernel's end. The kernel asks for the first blocks
    /// as soon as it has it.
    private func connection(_ entry: Entry) async throws(TercetError) -> Int32 {
        let ends = try KernelDevice.connection()
        await serve(
            entry,
            HandedSession(
                descriptor: ends.server, export: entry.export.name, session: entry.export.deviceSession, isDevice: true)
        )
        return ends.kernel
    }

    /// Gives a device whose connection has died another one.
    private func connectAnew(_ entry: Entry) async throws(TercetError) {
        let socket = try await connection(entry)
        defer { close(socket) }
        let (index, settings) = (entry.index, entry.settings)
        try await withKernel { kernel throws(TercetError) in
            let deadline = MonotonicTime.now().advanced(byMilliseconds: Self.noticeMilliseconds)
            while true {
                do throws(TercetError) { return try kernel.reconfigure(index, socket, settings) } catch {
                    guard error.code == .exhausted, MonotonicTime.now() < deadline else { throw error }
                    usleep(20_000)
                }
            }
        }
    }

    /// Begins the session of a device's connection at the server that is its home.
    private func serve(_ entry: Entry, _ session: HandedSession) async {
        let (export, name) = (entry.export, entry.export.name)
        let server = servers[export.home]
        await reactors[export.home].run {
            server.resume(session, export) { [weak self] in
                Task { [weak self] in await self?.connectionEnded(name) }
            }
        }
    }

    /// A device's connection has ended, and nothing that came over it is under way any more: only now a request that the kernel
    /// sends again cannot be overtaken by itself.
    private func connectionEnded(_ name: String) async {
        guard !isStopping, let entry = entries[name], !entry.isEnding, entry.index >= 0 else { return }
        let what: Logger.Metadata = ["export": "\(name)", "device": "\(KernelDevice.path(entry.index))"]
        do throws(TercetError) {
            let backend = try await queue.run { () throws(TercetError) in KernelDevice.backend(of: entry.index) }
            guard backend == entry.settings.backend else {
                entries[name] = nil
                entry.link.remove()
                return journal.write(.warning, "block device gone: somebody has disconnected it", what)
            }
            try await connectAnew(entry)
            journal.write(.warning, "block device connected anew", what)
        } catch {
            journal.write(.error, "block device lost its connection: \(error)", what)
        }
    }

    /// Gives a device the size that its export has now. A session of the former size goes on with the new one.
    func refresh() async {
        for (name, entry) in entries where !entry.isEnding {
            let size = entry.export.device.geometry.byteCount
            guard size != entry.settings.size else { continue }
            entries[name]?.settings.size = size
            let (server, export) = (servers[entry.export.home], entry.export)
            await reactors[export.home].run { server.resize(export, to: size) }
            var settings = entry.settings
            settings.size = size
            let (index, wanted) = (entry.index, settings)
            do throws(TercetError) {
                try await withKernel { kernel throws(TercetError) in try kernel.resize(index, wanted) }
                journal.write(
                    .notice, "block device resized", ["export": "\(name)", "bytes": "\(size)"])
            } catch {
                journal.write(.error, "block device not resized: \(error)", ["export": "\(name)"])
            }
        }
    }

    // MARK: Ending

    /// Throws `inUse` where an export's device is mounted, or open for somebody alone.
    func checkIsFree(_ name: String) async throws(TercetError) {
        guard let entry = entries[name] else { return }
        if try await queue.run({ () throws(TercetError) in KernelDevice.isInUse(KernelDevice.path(entry.index)) }) {
            throw TercetError(
                .inUse, "\(entry.link.path) (\(KernelDevice.path(entry.index))) is mounted or in use: end that first")
        }
    }

    /// Ends an export's device. Throws where it is in use.
    func remove(_ name: String) async throws(TercetError) {
        try await checkIsFree(name)
        guard let entry = entries[name] else { return }
        entries[name]?.isEnding = true
        do throws(TercetError) { try await disconnect(entry.index) } catch {
            entries[name]?.isEnding = false
            throw error
        }
        entries[name] = nil
        entry.link.remove()
    }

    private func disconnect(_ index: Int32) async throws(TercetError) {
        try await withKernel { kernel throws(TercetError) in try kernel.disconnect(index) }
    }

    /// Ends the device that an export was by the daemon before, and with which nobody is to go on.
    func endFormer(_ name: String, backend: String) async throws(TercetError) {
        guard let found = try await queue.run({ () throws(TercetError) in KernelDevice.find(backend: backend) }) else {
            return
        }
        try await disconnect(found)
        try link(name).remove()
    }

    /// The daemon ends. Devices that nobody uses end too; the others wait for the next daemon.
    ///
    /// - Parameter kept: exports that the next daemon makes in any case. A device may be open without any sign of it.
    func stop(leaving kept: Set<String>) async {
        for name in entries.keys.sorted() {
            do throws(TercetError) {
                if kept.contains(name) { throw TercetError(.inUse, "the next daemon goes on with it") }
                try await remove(name)
            } catch {
                journal.write(
                    .warning, "block device left to the next daemon",
                    [
                        "export": "\(name)", "reason": "\(error)",
                        "waitsSeconds": "\(settings.deadConnectionTimeoutSeconds)",
                    ])
            }
        }
        isStopping = true
    }

    /// The next daemon goes on with all connections.
    func leave() { isStopping = true }

    // MARK: Calls

    /// Asks the kernel's NBD client.
    private func withKernel<Result: Sendable>(
        _ body: @escaping @Sendable (inout KernelNBD) throws(TercetError) -> Result
    ) async throws(TercetError) -> Result {
        try await queue.run { () throws(TercetError) in
            var kernel = try KernelNBD()
            return try body(&kernel)
        }
    }
}
