import Base
import BlockInterface
import ControlPlane
import Foundation
import Logging
import NBDServer
import Reactor
import Replication
import TargetConfiguration
import VolumeDriver
import VolumedConfiguration

/// The methods of the control socket.
extension Daemon {
    nonisolated var methods: ControlMethods {
        var methods = ControlMethods()
        methods.add(VolumeMethod.get, NoParameters.self) { (_) async throws(TercetError) -> VolumeDaemonState in
            await self.state()
        }
        methods.add(VolumeMethod.list, NoParameters.self) { (_) async throws(TercetError) -> [VolumeSummary] in
            await self.list()
        }
        methods.add(VolumeMethod.room, NoParameters.self) { (_) async throws(TercetError) -> VolumeRoom in
            await self.room
        }
        methods.add(VolumeMethod.explain, VolumeName.self) { (given) async throws(TercetError) -> VolumeExplanation in
            try await self.explain(given.name)
        }
        methods.add(VolumeMethod.attach, VolumeToAttach.self) { (given) async throws(TercetError) -> VolumeSummary in
            try await self.attach(given)
        }
        methods.add(VolumeMethod.detach, VolumeName.self) { (given) async throws(TercetError) -> VolumeName in
            try await self.detach(given.name)
            return given
        }
        methods.add(VolumeMethod.export, ExportRequest.self) { (given) async throws(TercetError) -> ExportRequest in
            try await self.export(given)
        }
        methods.add(VolumeMethod.unexport, ExportRequest.self) { (given) async throws(TercetError) -> ExportRequest in
            try await self.unexport(given)
        }
        methods.add(VolumeMethod.mark, ContentsMark.self) { (given) async throws(TercetError) -> ContentsMark in
            try await self.mark(given)
        }
        methods.add(VolumeMethod.statistics, NoParameters.self) { (_) async throws(TercetError) -> VolumeCounters in
            await self.counters()
        }
        methods.add(VolumeMethod.limit, LimitsRequest.self) { (given) async throws(TercetError) -> LimitsRequest in
            try await self.limit(given)
        }
        methods.add(VolumeMethod.handOverVolume, VolumeHandOver.self) {
            (given) async throws(TercetError) -> VolumeHandOver in try await self.handOverVolume(given)
        }
        methods.add("handOver", HandOverRequest.self) { (given) async throws(TercetError) -> HandOverRequest in
            try await self.handOver(to: given.socket)
            return given
        }
        addProcessMethods(to: &methods)
        return methods
    }

    // MARK: Changing

    private func attach(_ given: VolumeToAttach) async throws(TercetError) -> VolumeSummary {
        guard successor == nil else {
            throw TercetError(
                .invalid, "this daemon's volumes are shared with others: name it in the configuration of each")
        }
        guard wanted[given.name] == nil, !exports.all.contains(where: { $0.name == given.name }) else {
            throw TercetError(.exists, "there is \"\(given.name)\" already")
        }
        // Two attaches of one volume would fence each other.
        guard !attaching.contains(given.name) else {
            throw TercetError(
                .unavailable,
                "an attach of \"\(given.name)\" that was given up has not ended, for its members do not answer: try again later"
            )
        }
        let room = room
        guard room.present < room.most else {
            throw TercetError(
                .exhausted,
                "the daemon has room for \(room.most) volumes beside those of its configuration, and has them: detach one, or start it with "
                    + "more (\"laterVolumes\", \"reactors\")")
        }
        let entry = try VolumedConfiguration.VolumeEntry(
            name: given.name, memberTexts: given.members, takesOver: given.takeOver ?? false)
        guard !isStopping else { throw TercetError(.unavailable, "the daemon is stopping") }
        wanted[given.name] = entry
        let number = turns.join(entry.name)
        do throws(VolumeError) {
            guard await hasTurn(entry, number) else {
                throw VolumeError(.invalid, "\"\(entry.name)\" is not wanted any more")
            }
            let volume = try await attach(entry, number)
            do throws(TercetError) { try await keep(volume) } catch {
                try? await detach(entry.name)
                throw VolumeError(.noMember, error.description)
            }
            return await summary(entry.name, volume.offered, "\(volume.attachment.superblock.volume)", "serving")
        } catch {
            // It may have been detached meanwhile, and attached again.
            if wanted[given.name] == entry {
                wanted[given.name] = nil
                histories[given.name] = nil
            }
            let code: TercetError.Code =
                switch error.code {
                case .inUse: .inUse
                case .noMemory: .exhausted
                default: .unavailable
                }
            throw TercetError(code, error.message)
        }
    }

    private func limit(_ given: LimitsRequest) async throws(TercetError) -> LimitsRequest {
        guard let volume = volumes.first(where: { $0.entry.name == given.name }) else { throw unknown(given.name) }
        var limits = await volume.device.limits()
        if let ios = given.iosPerSecond { limits.iosPerSecond = ios }
        if let bytes = given.bytesPerSecond { limits.bytesPerSecond = bytes }
        if let weight = given.weight { limits.weight = weight }
        guard VolumeLimits.weights.contains(limits.weight), limits.iosPerSecond <= VolumeLimits.greatest,
            limits.bytesPerSecond <= VolumeLimits.greatest
        else {
            throw TercetError(
                .invalid,
                "a limit is out of range; allowed: iosPerSecond and bytesPerSecond 0 (none) to \(VolumeLimits.greatest), weight "
                    + "\(VolumeLimits.weights.lowerBound) to \(VolumeLimits.weights.upperBound)")
        }
        let all = LimitsRequest(
            name: given.name, iosPerSecond: limits.iosPerSecond, bytesPerSecond: limits.bytesPerSecond,
            weight: limits.weight)
        try kept.update(given.name) { $0.limits = all }
        volume.device.change(limits)
        journal.write(
            .notice, "limits changed",
            [
                "volume": "\(given.name)", "iosPerSecond": "\(limits.iosPerSecond)",
                "bytesPerSecond": "\(limits.bytesPerSecond)", "weight": "\(limits.weight)",
            ])
        return all
    }

    private func mark(_ given: ContentsMark) async throws(TercetError) -> ContentsMark {
        guard let contents = VolumeContents(words: given.contents) else {
            throw TercetError(
                .invalid, "'\(given.contents)' is no mark; allowed: blank, being formatted, written")
        }
        guard let volume = volumes.first(where: { $0.entry.name == given.name }) else {
            guard wanted[given.name] == nil else {
                throw TercetError(.unavailable, "\"\(given.name)\" is not attached yet")
            }
            throw unknown(given.name)
        }
        do throws(VolumeError) { try await volume.attachment.mark(contents) } catch {
            throw TercetError(error.code == .invalid ? .invalid : .unavailable, error.message)
        }
        journal.write(.notice, "contents marked", ["volume": "\(given.name)", "contents": "\(contents.words)"])
        return given
    }

    private func detach(_ name: String) async throws(TercetError) {
        guard wanted[name] != nil else { throw unknown(name) }
        guard successor == nil else {
            throw TercetError(
                .invalid,
                "\"\(name)\" is shared with other daemons: tercet volume hand-over \(name) gives it to one of them")
        }
        if let volume = volumes.first(where: { $0.entry.name == name }) {
            for export in await kernel.exports(of: volume.device) { try await kernel.remove(export.name) }
            for export in await ublk.exports(of: volume.device) { try await ublk.remove(export.name) }
        }
        guard wanted[name] != nil else { throw unknown(name) }
        try kept.forget(name)
        wanted[name] = nil
        turns.withdraw(name)
        guard let place = volumes.firstIndex(where: { $0.entry.name == name }) else {
            histories[name] = nil
            return
        }
        let volume = volumes.remove(at: place)
        await takeBack(volume)
        histories[name] = nil
        if await detach(volume) != nil {
            throw TercetError(
                .failed, "the volume was let go without being clean; the next attach makes its members equal")
        }
    }

    /// Takes back what NBD clients have of a volume.
    func takeBack(_ volume: AttachedVolume) async {
        for export in exports.all where export.device === volume.offered {
            _ = exports.remove(export.name)
            await end(export)
        }
    }

    /// Ends the sessions of an export that is out of the list: in good order, and after ten seconds at once. What a device still has
    /// of them then ends with it.
    private func end(_ export: Export) async {
        let reason = "the export was taken back"
        let (servers, reactors) = (servers, reactors)
        let timer = Task {
            try await Task.sleep(for: .seconds(Self.drainSeconds))
            for (server, reactor) in zip(servers, reactors) { reactor.send { server.abandon(export, reason: reason) } }
        }
        for (server, reactor) in zip(servers, reactors) {
            await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                reactor.send { server.drain(export, reason: reason, whenOver: { continuation.resume() }) }
            }
        }
        timer.cancel()
    }

    /// The device under a name, and the reactor that it lives on.
    private func found(_ name: String) throws(TercetError) -> (device: any BlockDevice, place: Int) {
        if let volume = volumes.first(where: { $0.entry.name == name }) { return (volume.device, volume.place) }
        if let found = devices.first(where: { $0.name == name }) { return (found.device, found.place) }
        throw unknown(name)
    }

    private func export(_ given: ExportRequest) async throws(TercetError) -> ExportRequest {
        let name = given.exportName ?? given.name
        let kind = try kind(given)
        try await makeExport(name, of: given.name, as: kind)
        let export = KeptVolumes.Export(given.name, as: name, kind)
        do throws(TercetError) { if isKept(export) { try kept.keep(export) } } catch {
            try? await endExport(name, kind)
            throw error
        }
        journal.write(.notice, "exported", ["volume": "\(given.name)", "export": "\(name)"])
        return ExportRequest(name: given.name, exportName: name, kind: given.kind)
    }

    /// Offers a volume, or a device, under a name.
    func makeExport(
        _ name: String, of source: String, as kind: VolumedConfiguration.ExportKind
    ) async throws(TercetError) {
        guard !kind.isBlockDevice else { return try await export(name, of: source, as: kind) }
        let (device, place) = try found(source)
        try exports.add(Export(name: name, text: device.name, device: device, home: place))
    }

    private func kind(_ given: ExportRequest) throws(TercetError) -> VolumedConfiguration.ExportKind {
        guard let text = given.kind else { return .nbd }
        guard let kind = VolumedConfiguration.ExportKind(rawValue: text) else {
            let allowed = VolumedConfiguration.ExportKind.allCases.map(\.rawValue).joined(separator: ", ")
            throw TercetError(.invalid, "'\(text)' is no kind of export; allowed: \(allowed)")
        }
        return kind
    }

    /// Makes a volume, or a device, a block device of this machine.
    func export(
        _ name: String, of source: String, as kind: VolumedConfiguration.ExportKind
    ) async throws(TercetError) {
        let (device, place) = try found(source)
        guard await kernel.path(of: name) == nil, await ublk.path(of: name) == nil else {
            throw TercetError(.exists, "\"\(name)\" is a block device already")
        }
        // NBD clients of the same name change parts of blocks under one lock with it.
        let export =
            exports.all.first { $0.name == name && $0.device === device }
            ?? Export(name: name, text: device.name, device: device, home: place)
        guard let volume = volumes.first(where: { $0.device === device }) else {
            // A device in memory does not hold what another daemon's held under this name.
            let backend = "tercet-device:\(UUIDBytes.random())"
            return kind == .ublk
                ? try await ublk.add(export, backend: backend) : try await kernel.add(export, backend: backend)
        }
        let keys = await volume.attachment.keys()
        let backend = "tercet:\(volume.attachment.superblock.volume):\(name)"
        if kind == .ublk {
            try await ublk.add(export, backend: backend, attachment: keys.own, predecessor: keys.predecessor)
        } else {
            try await kernel.add(export, backend: backend, attachment: keys.own, predecessor: keys.predecessor)
        }
    }

    private func unexport(_ given: ExportRequest) async throws(TercetError) -> ExportRequest {
        let name = given.exportName ?? given.name
        let kind = try kind(given)
        do throws(TercetError) { try await endExport(name, kind) } catch {
            // Nor does the next daemon make one that is not there.
            if error.code == .notFound { try kept.forget(KeptVolumes.Export(given.name, as: name, kind)) }
            throw error
        }
        try kept.forget(KeptVolumes.Export(given.name, as: name, kind))
        journal.write(
            .notice, kind.isBlockDevice ? "no longer a block device" : "no longer exported", ["export": "\(name)"])
        return ExportRequest(name: given.name, exportName: name, kind: given.kind)
    }

    private func endExport(_ name: String, _ kind: VolumedConfiguration.ExportKind) async throws(TercetError) {
        guard kind.isBlockDevice else {
            guard let export = exports.remove(name) else {
                throw TercetError(.notFound, "there is no export \"\(name)\"")
            }
            return await end(export)
        }
        let path = kind == .ublk ? await ublk.path(of: name) : await kernel.path(of: name)
        guard path != nil else { throw TercetError(.notFound, "there is no block device \"\(name)\"") }
        if kind == .ublk { try await ublk.remove(name) } else { try await kernel.remove(name) }
    }
}
