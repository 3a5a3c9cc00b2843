import Base
import BlockInterface
import Foundation
import Glibc
import KernelNBD
import Logging
import NBDServer
import Reactor
import UblkServer
import VolumeDriver

/// Devices as block devices of this machine, by the kernel's ublk driver.
///
/// A device outlives the daemon: its I/O waits until the next one, which finds it by its mark, has recovered it.
actor UblkExports {
    /// A device of the kernel.
    private struct Entry {
        var export: Export
        var index: Int32
        var link: KernelDeviceLink
        var queue: UblkQueue
        var memory: UblkMemory
    }

    private let folder: String
    private let reactors: [Reactor]
    private let journal: Journal
    /// Commands block: they have a thread of their own.
    private let thread = DispatchQueue(label: "ublk")
    private var entries: [String: Entry] = [:]
    /// Queues of devices that are left to the next daemon: they end with the process.
    private var left: [UblkQueue] = []
    /// Memory of queues that have ended: the volumes' devices have it registered.
    private var spare: [UblkMemory] = []

    /// How long the kernel has to notice that a former daemon is gone.
    private static let noticeMilliseconds: UInt64 = 10_000
    /// How long requests have to end when the daemon leaves a device to the next one.
    private static let quietSeconds = 5.0

    init(folder: String, reactors: [Reactor], journal: Journal) {
        self.folder = folder
        self.reactors = reactors
        self.journal = journal
    }

    /// Throws where this kernel has no such devices.
    func check() async throws(TercetError) { try await withDriver { _ throws(TercetError) in } }

    /// The path of an export's device; `nil` where it has none.
    func path(of name: String) -> String? { entries[name].map { UblkControl.path($0.index) } }

    /// The block devices that a device is.
    func exports(of device: any BlockDevice) -> [(name: String, path: String)] {
        entries.values.filter { $0.export.device === device }
            .map { ($0.export.name, $0.link.path) }.sorted { $0.0 < $1.0 }
    }

    // MARK: Adding

    /// Makes an export a block device, or serves the one that it was again.
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
        let link = try KernelDeviceLink(folder: folder, name: export.name)
        let mark = Self.mark(backend)
        let former = try await former(mark, link, predecessor)
        let geometry = export.device.geometry
        let settings = UblkControl.Settings(
            size: geometry.byteCount, blockSize: min(geometry.blockSize, 4096),
            hasVolatileCache: geometry.hasVolatileWriteCache, canDeallocate: geometry.canDeallocate, mark: mark)
        let index: Int32
        if let former {
            index = former
            try await recover(former)
        } else {
            index = try await withDriver { driver throws(TercetError) in try driver.add(settings) }
        }
        do throws(TercetError) {
            entries[export.name] = try await serve(export, index, link)
            try await withDriver { driver throws(TercetError) in
                if former == nil { try driver.start(index) } else { try driver.endRecovery(index) }
            }
            try link.write(
                KernelDeviceState(index: index, attachment: attachment), device: UblkControl.path(index))
        } catch {
            await end(export.name)
            // A device that was found stays, for another attempt.
            if former == nil { try? await delete(index) }
            throw error
        }
        journal.write(
            .notice, former == nil ? "block device made" : "block device served again",
            ["export": "\(export.name)", "device": "\(UblkControl.path(index))", "link": "\(link.path)"])
    }

    /// 64 bits of a text (FNV-1a).
    private static func mark(_ text: String) -> UInt64 {
        text.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }

    /// The device that was this export's, where what the system has cached of it is still true. One whose volume another host has
    /// had since is ended: to go on would write old data over new.
    private func former(
        _ mark: UInt64, _ link: KernelDeviceLink, _ predecessor: UInt64
    ) async throws(TercetError) -> Int32? {
        guard let found = try await withDriver({ driver throws(TercetError) in driver.find(mark: mark) }) else {
            return nil
        }
        if let state = link.state, state.index == found, state.isContinued(from: predecessor) { return found }
        journal.write(
            .error, "block device ended: another host may have had the volume since its daemon died",
            ["device": "\(UblkControl.path(found))", "link": "\(link.path)"])
        try await delete(found)
        return nil
    }

    /// Begins the recovery of a device, once the kernel has noticed the end of the daemon that served it.
    private func recover(_ index: Int32) async throws(TercetError) {
        try await withDriver { driver throws(TercetError) in
            let deadline = MonotonicTime.now().advanced(byMilliseconds: Self.noticeMilliseconds)
            while true {
                do throws(TercetError) { return try driver.beginRecovery(index) } catch {
                    guard error.code == .inUse, MonotonicTime.now() < deadline else { throw error }
                    usleep(20_000)
                }
            }
        }
    }

    private func serve(
        _ export: Export, _ index: Int32, _ link: KernelDeviceLink
    ) async throws(TercetError) -> Entry {
        let memory: UblkMemory
        if let used = spare.popLast() { memory = used } else { memory = try UblkMemory() }
        let queue: UblkQueue
        do throws(TercetError) {
            queue = try UblkQueue(index, device: export.device, ranges: export.ranges, memory: memory)
        } catch {
            spare.append(memory)
            throw error
        }
        let reactor = reactors[export.home]
        await reactor.run {
            _ = KernelDevice.serveAsBlockDevice()
            reactor.add(queue)
            queue.begin()
        }
        return Entry(export: export, index: index, link: link, queue: queue, memory: memory)
    }

    // MARK: Ending

    /// Throws `inUse` where an export's device is mounted, or open for somebody alone.
    func checkIsFree(_ name: String) async throws(TercetError) {
        guard let entry = entries[name] else { return }
        let path = UblkControl.path(entry.index)
        if try await thread.run({ () throws(TercetError) in KernelDevice.isInUse(path) }) {
            throw TercetError(.inUse, "\(entry.link.path) (\(path)) is mounted or in use: end that first")
        }
    }

    /// Throws `unavailable` where a device's volume waits for members. The kernel writes back what it has cached of a device before
    /// it lets go of it, and would wait for that as long, with everybody who ends the device.
    private func checkIsServed(_ entry: Entry) throws(TercetError) {
        guard let volume = entry.export.device as? VolumeBlockDevice, volume.availability == .unavailable else {
            return
        }
        throw TercetError(
            .unavailable,
            "\(entry.link.path) (\(UblkControl.path(entry.index))): its volume waits for members, and what this machine has cached "
                + "cannot be written: bring them back first, or stop the daemon, which leaves the device to the next one"
        )
    }

    /// Ends an export's device. Throws where it is in use, or cannot be written.
    func remove(_ name: String) async throws(TercetError) {
        try await checkIsFree(name)
        guard let entry = entries[name] else { return }
        try checkIsServed(entry)
        // Its last requests are answered meanwhile.
        try await withDriver { driver throws(TercetError) in try driver.stop(entry.index) }
        await end(name)
        entry.link.remove()
        try await withDriver { driver throws(TercetError) in try driver.delete(entry.index) }
    }

    private func delete(_ index: Int32) async throws(TercetError) {
        try await withDriver { driver throws(TercetError) in
            try driver.stop(index)
            try driver.delete(index)
        }
    }

    /// Serves a device no more.
    private func end(_ name: String) async {
        guard let entry = entries.removeValue(forKey: name) else { return }
        let (reactor, queue) = (reactors[entry.export.home], entry.queue)
        await reactor.run {
            reactor.remove(queue)
            queue.end()
        }
        spare.append(entry.memory)
    }

    /// Ends the device that an export was by the daemon before, and with which nobody is to go on.
    func endFormer(_ name: String, backend: String) async throws(TercetError) {
        let mark = Self.mark(backend)
        guard let found = try await withDriver({ driver throws(TercetError) in driver.find(mark: mark) }) else {
            return
        }
        try await delete(found)
        try KernelDeviceLink(folder: folder, name: name).remove()
    }

    /// The daemon ends. Devices that nobody uses and whose volumes are served end too; the others wait for the next daemon.
    ///
    /// - Parameter kept: exports that the next daemon makes in any case. A device may be open without any sign of it.
    func stop(leaving kept: Set<String>) async {
        for name in entries.keys.sorted() {
            do throws(TercetError) {
                if kept.contains(name) { throw TercetError(.inUse, "the next daemon goes on with it") }
                try await remove(name)
            } catch {
                journal.write(
                    .warning, "block device left to the next daemon", ["export": "\(name)", "reason": "\(error)"])
            }
        }
        await leave()
    }

    /// The next daemon goes on with all devices: what is under way is answered, and the rest waits in the kernel.
    func leave() async {
        for (name, entry) in entries {
            let (reactor, queue) = (reactors[entry.export.home], entry.queue)
            let (quiet, told) = AsyncStream<Void>.makeStream()
            reactor.send { queue.leave { told.finish() } }
            let timer = Task {
                try await Task.sleep(for: .seconds(Self.quietSeconds))
                told.finish()
            }
            for await _ in quiet {}
            timer.cancel()
            entries[name] = nil
            left.append(queue)
            await reactor.run {
                reactor.remove(queue)
                queue.part()
            }
        }
    }

    // MARK: Calls

    /// Asks the kernel's driver.
    private func withDriver<Result: Sendable>(
        _ body: @escaping @Sendable (borrowing UblkControl) throws(TercetError) -> Result
    ) async throws(TercetError) -> Result {
        try await thread.run { () throws(TercetError) in try body(try UblkControl()) }
    }
}
