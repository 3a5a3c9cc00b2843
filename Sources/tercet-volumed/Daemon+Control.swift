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
        methods.add(VolumeMethod.list, NoParameters.self) { (_) async throws(TercetError) -> [VolumeSummary] in
            await self.list()
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
        methods.add("handOver", HandOverRequest.self) { (given) async throws(TercetError) -> HandOverRequest in
            try await self.handOver(to: given.socket)
            return given
        }
        return methods
    }

    // MARK: Looking

    private func list() async -> [VolumeSummary] {
        var summaries: [VolumeSummary] = []
        for volume in volumes {
            let phase = await volume.attachment.volume.status().phase
            summaries.append(
                summary(volume.entry.name, volume.device, "\(volume.attachment.superblock.volume)", "\(phase)"))
        }
        for name in wanted.keys.sorted() where !volumes.contains(where: { $0.entry.name == name }) {
            summaries.append(
                VolumeSummary(name: name, uuid: "", bytes: 0, phase: "waiting", exports: [], sessions: 0))
        }
        return summaries + devices.map { summary($0.name, $0.device, "", "device") }
    }

    private func summary(
        _ name: String, _ device: any BlockDevice, _ uuid: String, _ phase: String
    ) -> VolumeSummary {
        let own = exports.all.filter { $0.device === device }
        return VolumeSummary(
            name: name, uuid: uuid, bytes: device.geometry.byteCount, phase: phase, exports: own.map(\.name),
            sessions: own.map(\.sessionCount).reduce(0, +))
    }

    private func explain(_ name: String) async throws(TercetError) -> VolumeExplanation {
        guard let history = histories[name] else { throw unknown(name) }
        let moments = history.moments
        guard let volume = volumes.first(where: { $0.entry.name == name }) else {
            let addresses = wanted[name]?.members ?? []
            let members = zip(addresses.indices, addresses).map { number, address in
                VolumeExplanation.Member(
                    number: number, address: "\(address)", state: "not attached",
                    since: moments.members[number].timeText, cause: moments.members[number].text, behindRegions: 0)
            }
            return VolumeExplanation(
                name: name, uuid: "", phase: "waiting", since: moments.phase.timeText,
                cause: history.events.last?.text ?? moments.phase.text, members: members,
                needs: ["two members that can be reached and hold the volume's record"], risks: [],
                events: history.events)
        }
        let status = await volume.attachment.volume.status()
        var members: [VolumeExplanation.Member] = []
        for number in 0..<memberCount {
            let member = status.members[MemberIndex(number)]
            members.append(
                VolumeExplanation.Member(
                    number: number, address: "\(volume.entry.members[number])",
                    state: member.phase != .active ? "away" : member.isInSync ? "in sync" : "behind",
                    since: moments.members[number].timeText, cause: moments.members[number].text,
                    behindRegions: member.behindRegions))
        }
        return VolumeExplanation(
            name: name, uuid: "\(volume.attachment.superblock.volume)", phase: "\(status.phase)",
            since: moments.phase.timeText, cause: moments.phase.text, members: members,
            needs: needs(status.phase, members), risks: risks(members), events: history.events)
    }

    private func needs(_ phase: VolumePhase, _ members: [VolumeExplanation.Member]) -> [String] {
        if phase == .deposed { return ["another host has the volume: detach it here"] }
        let away = members.filter { $0.state == "away" }.map { "\($0.number) (\($0.address))" }
        var needs: [String] = []
        if away.count > 1 {
            needs.append("the volume waits: one of the members \(away.joined(separator: ", ")) has to be reached again")
        } else if let first = away.first {
            needs.append("member \(first) has to be reached again; the volume is served without it")
        }
        for member in members where member.state == "behind" {
            needs.append(
                "member \(member.number) is being brought up to date: \(member.behindRegions) regions are left")
        }
        return needs
    }

    private func risks(_ members: [VolumeExplanation.Member]) -> [String] {
        let inSync = members.filter { $0.state == "in sync" }.map { "\($0.number)" }
        guard inSync.count < memberCount else { return [] }
        return [
            inSync.count < 2
                ? "members in sync and reached: \(inSync.joined(separator: ", ")); replacing one of the others now would "
                    + "lose what only they hold"
                : "while fewer than three members are in sync, the loss of one more stops the volume"
        ]
    }

    private func unknown(_ name: String) -> TercetError {
        let names = (wanted.keys.sorted() + devices.map(\.name)).map { "\"\($0)\"" }.joined(separator: ", ")
        return TercetError(.notFound, "there is no volume \"\(name)\"; there are \(names.isEmpty ? "none" : names)")
    }

    // MARK: Changing

    private func attach(_ given: VolumeToAttach) async throws(TercetError) -> VolumeSummary {
        guard wanted[given.name] == nil, !exports.all.contains(where: { $0.name == given.name }) else {
            throw TercetError(.exists, "there is \"\(given.name)\" already")
        }
        let entry = try VolumedConfiguration.VolumeEntry(
            name: given.name, memberTexts: given.members, takesOver: given.takeOver ?? false)
        wanted[given.name] = entry
        do throws(VolumeError) {
            let volume = try await attach(entry)
            return summary(entry.name, volume.device, "\(volume.attachment.superblock.volume)", "serving")
        } catch {
            wanted[given.name] = nil
            histories[given.name] = nil
            throw TercetError(error.code == .inUse ? .inUse : .unavailable, error.message)
        }
    }

    private func detach(_ name: String) async throws(TercetError) {
        guard wanted.removeValue(forKey: name) != nil else { throw unknown(name) }
        guard let place = volumes.firstIndex(where: { $0.entry.name == name }) else { return }
        let volume = volumes.remove(at: place)
        for export in exports.all where export.device === volume.device {
            _ = exports.remove(export.name)
            await end(export)
        }
        histories[name] = nil
        if await detach(volume) != nil {
            throw TercetError(
                .failed, "the volume was let go without being clean; the next attach makes its members equal")
        }
    }

    /// Ends the sessions of an export that is out of the list: in good order, and after ten seconds at once. What a device still has
    /// of them then ends with it.
    private func end(_ export: Export) async {
        let reason = "the export was taken back"
        for (server, reactor) in zip(servers, reactors) { await reactor.run { server.drain(export, reason: reason) } }
        let deadline = ContinuousClock.now + .seconds(10)
        while export.sessionCount > 0, ContinuousClock.now < deadline { try? await Task.sleep(for: .milliseconds(5)) }
        for (server, reactor) in zip(servers, reactors) { await reactor.run { server.abandon(export, reason: reason) } }
    }

    private func export(_ given: ExportRequest) throws(TercetError) -> ExportRequest {
        let name = given.exportName ?? given.name
        if let volume = volumes.first(where: { $0.entry.name == given.name }) {
            try exports.add(
                Export(name: name, text: volume.device.name, device: volume.device, home: volume.place))
        } else if let found = devices.first(where: { $0.name == given.name }) {
            try exports.add(Export(name: name, text: found.device.name, device: found.device, home: found.place))
        } else {
            throw unknown(given.name)
        }
        journal.write(.notice, "exported", ["volume": "\(given.name)", "export": "\(name)"])
        return ExportRequest(name: given.name, exportName: name)
    }

    private func unexport(_ given: ExportRequest) async throws(TercetError) -> ExportRequest {
        let name = given.exportName ?? given.name
        guard let export = exports.remove(name) else {
            throw TercetError(.notFound, "there is no export \"\(name)\"")
        }
        await end(export)
        journal.write(.notice, "no longer exported", ["export": "\(name)"])
        return ExportRequest(name: given.name, exportName: name)
    }
}
