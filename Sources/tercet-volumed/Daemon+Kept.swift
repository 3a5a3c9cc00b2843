import Base
import ControlPlane
import Logging
import NBDServer
import Replication
import VolumeDriver
import VolumedConfiguration

/// Volumes that the daemon before this one had by control: attached again, unless another host has had them since.
extension Daemon {
    /// For so long another host that has the volume may be the daemon before this one, whose death its members have not noticed.
    private static let occupiedSeconds = 60.0

    /// Takes on what was attached and exported by control. Methods of the control socket are answered only then.
    ///
    /// - Parameters:
    ///   - control: the path of the control socket.
    ///   - former: that of the daemon whose place this one takes.
    func takeOnKept(besideSocket control: String, former: String?) throws(TercetError) {
        kept = try KeptVolumes(besideSocket: control)
        if let former, former != control {
            var other = try KeptVolumes(besideSocket: former)
            try kept.takeOver(&other)
        }
        for volume in kept.volumes {
            guard configuration.succession == nil, !configuration.volumes.contains(where: { $0.name == volume.name })
            else {
                journal.write(
                    .warning, "a volume that was attached by control is not: the configuration says otherwise",
                    ["volume": "\(volume.name)"])
                try kept.forget(volume.name)
                continue
            }
            wanted[volume.name] = try volume.entry()
            histories[volume.name] = VolumeHistory()
        }
    }

    /// Attaches a volume that is kept, now or later, until it is attached, not wanted any more, or another host's.
    ///
    /// - Parameter wasTried: told when it was tried once, or takes longer than clients are to wait.
    func attachKept(_ entry: VolumedConfiguration.VolumeEntry, wasTried: @escaping @Sendable () -> Void) async {
        let patience = Task {
            try await Task.sleep(for: .seconds(Self.patienceSeconds))
            wasTried()
        }
        defer {
            patience.cancel()
            wasTried()
        }
        let end = ContinuousClock.now + .seconds(Self.occupiedSeconds)
        var last = ""
        while !isStopping, wanted[entry.name] == entry, !isComing(entry.name) {
            let number = turns.join(entry.name)
            guard await hasTurn(entry, number) else { return }
            do throws(VolumeError) {
                defer { turns.leave(number) }
                try await checkIsContinued(entry)
                _ = try await attach(entry, number)
                return
            } catch {
                guard !isStopping, wanted[entry.name] == entry else { return }
                let isAnothers = error.code == .inUse && ContinuousClock.now > end
                if isAnothers || error.code == .deposed || error.code == .invalid {
                    return await letGo(entry, error.message)
                }
                if error.message != last { tell(entry, error.message, isRepeated: true) }
                last = error.message
            }
            wasTried()
            try? await Task.sleep(for: .seconds(Self.retrySeconds))
        }
    }

    /// Asks the members whether another host has had the volume, before anything is changed there: that host may still have it, and not
    /// reach them.
    private func checkIsContinued(_ entry: VolumedConfiguration.VolumeEntry) async throws(VolumeError) {
        let superblock = try await look(entry)
        try checkIsContinued(entry.name, from: superblock.stamp.attachmentKey)
    }

    private func checkIsContinued(_ name: String, from predecessor: UInt64) throws(VolumeError) {
        guard let volume = kept.volume(name), !volume.trail.isContinued(from: predecessor) else { return }
        throw VolumeError(.deposed, "another host has had it since the daemon before this one ended")
    }

    /// Goes on with the attachment of a volume that is kept; nothing for any other. It is noted before anybody can write through it.
    func goOn(with volume: AttachedVolume) async throws(VolumeError) {
        let keys = await volume.attachment.keys()
        try checkIsContinued(volume.entry.name, from: keys.predecessor)
        do throws(TercetError) {
            try kept.update(volume.entry.name) { $0.trail = AttachmentTrail(attachment: keys.own) }
        } catch { throw VolumeError(.noMember, error.description) }
    }

    /// Keeps a volume that was attached by control, for the daemon after this one.
    func keep(_ volume: AttachedVolume) async throws(TercetError) {
        let keys = await volume.attachment.keys()
        guard wanted[volume.entry.name] == volume.entry else {
            throw TercetError(.unavailable, "\"\(volume.entry.name)\" is not wanted any more")
        }
        try kept.keep(
            KeptVolumes.Volume(
                name: volume.entry.name, members: volume.entry.members.map(\.description),
                uuid: "\(volume.attachment.superblock.volume)", trail: AttachmentTrail(attachment: keys.own)))
    }

    /// Makes the exports that a volume had by control.
    func exportKept(_ volume: AttachedVolume) async {
        for export in kept.exports(of: volume.entry.name) {
            guard let kind = export.exportKind else { continue }
            do throws(TercetError) {
                try await makeExport(export.name, of: volume.entry.name, as: kind)
            } catch {
                // The configuration may make it, too.
                if error.code == .exists { continue }
                histories[volume.entry.name]?.note("not exported as \(export.name) (\(export.kind)): \(error)")
                journal.write(
                    .error, "volume cannot be exported as before: \(error)",
                    ["volume": "\(volume.entry.name)", "export": "\(export.name)", "kind": "\(export.kind)"])
            }
        }
    }

    /// Whether the daemon after this one makes the export, though its configuration does not say so.
    func isKept(_ export: KeptVolumes.Export) -> Bool {
        let own = configuration.volumes.first { $0.name == export.volume }
        let isOwn = export.name == export.volume && (own?.exports.contains { $0.rawValue == export.kind } ?? false)
        return !isOwn && wanted[export.volume] != nil
    }

    /// Gives up a volume that is another host's. Users of its devices get errors: what they have cached is old.
    private func letGo(_ entry: VolumedConfiguration.VolumeEntry, _ reason: String) async {
        let uuid = kept.volume(entry.name)?.uuid ?? ""
        let exports = kept.exports(of: entry.name)
        wanted[entry.name] = nil
        histories[entry.name] = nil
        journal.write(.error, "volume let go: \(reason)", ["volume": "\(entry.name)"])
        do throws(TercetError) {
            try kept.forget(entry.name)
            for export in exports where export.exportKind?.isBlockDevice ?? false {
                let backend = "tercet:\(uuid):\(export.name)"
                if export.exportKind == .ublk {
                    try await ublk.endFormer(export.name, backend: backend)
                } else {
                    try await kernel.endFormer(export.name, backend: backend)
                }
            }
        } catch {
            journal.write(.error, "what is left of the volume stays: \(error)", ["volume": "\(entry.name)"])
        }
    }
}
