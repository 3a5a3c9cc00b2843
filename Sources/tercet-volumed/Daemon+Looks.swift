import Base
import BlockInterface
import ControlPlane
import Foundation
import NBDOverTCP
import NBDServer
import Reactor
import RegistryBackend
import Replication
import TargetConfiguration
import UnixSockets
import VolumeDriver
import VolumedConfiguration

/// Looks at the volumes, for the control socket.
extension Daemon {
    func state() async -> VolumeDaemonState {
        VolumeDaemonState(
            uptimeSeconds: Double(MonotonicTime.now().nanoseconds(since: started)) / 1e9,
            hostNQN: hostNQN, registry: registryPlace, daemon: configuration.succession?.name,
            reactorPlaces: reactorPlaces,
            devices: ProcessorPlaces.this.devices.map { TargetState.Device(name: $0.name, node: $0.node) },
            nbd: listeners.map(\.path) + tcpListeners.map(\.name),
            nvme: configuration.nvmeAddress.map(\.description), room: room, volumes: await list())
    }

    /// The registry that volumes come from; `nil` where none does.
    private var registryPlace: String? {
        guard configuration.succession != nil || configuration.volumes.contains(where: { $0.expected != nil }) else {
            return nil
        }
        return configuration.registry ?? ProcessInfo.processInfo.environment[RegistryBackend.variable]
    }

    func list() async -> [VolumeSummary] {
        var summaries: [VolumeSummary] = []
        for volume in volumes {
            let phase = await volume.attachment.volume.status().phase
            summaries.append(
                await summary(volume.entry.name, volume.offered, "\(volume.attachment.superblock.volume)", "\(phase)"))
        }
        for name in wanted.keys.sorted() where !volumes.contains(where: { $0.entry.name == name }) {
            summaries.append(
                VolumeSummary(
                    name: name, uuid: "", bytes: 0, phase: "waiting", exports: [],
                    sessions: 0))
        }
        for place in summaries.indices {
            guard let ownership = await ownership(summaries[place].name) else { continue }
            summaries[place].ownership = ownership
            if summaries[place].uuid.isEmpty, let owner = ownership.owner, owner != ownership.daemon {
                summaries[place].phase = "standing by"
            }
        }
        for entry in devices { summaries.append(await summary(entry.name, entry.device, "", "device")) }
        return summaries
    }

    func summary(
        _ name: String, _ device: any BlockDevice, _ uuid: String, _ phase: String
    ) async -> VolumeSummary {
        let own = exports.all.filter { $0.device === device }
        let blockDevices = await kernel.exports(of: device) + ublk.exports(of: device)
        return VolumeSummary(
            name: name, uuid: uuid, bytes: device.geometry.byteCount, phase: phase, exports: own.map(\.name),
            sessions: own.map(\.sessionCount).reduce(0, +), blockDevices: blockDevices.map(\.path))
    }

    func explain(_ name: String) async throws(TercetError) -> VolumeExplanation {
        var explanation = try await explainAttachment(name)
        guard let ownership = await ownership(name) else { return explanation }
        explanation.ownership = ownership
        if let owner = ownership.owner, owner != ownership.daemon {
            // It is not to be attached here.
            explanation.phase = "standing by"
            explanation.needs = []
        }
        return explanation
    }

    private func explainAttachment(_ name: String) async throws(TercetError) -> VolumeExplanation {
        guard let history = histories[name] else { throw unknown(name) }
        let moments = history.moments
        guard let volume = volumes.first(where: { $0.entry.name == name }) else {
            let addresses = wanted[name]?.members ?? []
            let members = zip(addresses.indices, addresses).map { number, address in
                VolumeExplanation.Member(
                    number: number, address: "\(address)", state: "not attached",
                    since: moments.members[number].timeText, cause: moments.members[number].text)
            }
            let before = turns.before(name)
            return VolumeExplanation(
                name: name, uuid: "", phase: "waiting", since: moments.phase.timeText,
                cause: before.map { "it waits for its turn to be attached; before it: \($0)" } ?? history.events.last?
                    .text
                    ?? moments.phase.text, members: members,
                needs: before == nil ? ["two members that can be reached and hold the volume's record"] : [], risks: [],
                events: history.events)
        }
        let status = await volume.attachment.volume.status()
        let regionSize = UInt64(status.regionSize)
        var members: [VolumeExplanation.Member] = []
        for number in 0..<memberCount {
            let member = status.members[MemberIndex(number)]
            members.append(
                VolumeExplanation.Member(
                    number: number, address: "\(volume.entry.members[number])",
                    state: member.words,
                    since: moments.members[number].timeText, cause: moments.members[number].text,
                    behindRegions: member.behindRegions, behindBytes: UInt64(member.behindRegions) * regionSize))
        }
        let unequalBytes = UInt64(status.unreconciledRegions) * regionSize
        return VolumeExplanation(
            name: name, uuid: "\(volume.attachment.superblock.volume)", phase: "\(status.phase)",
            contents: await volume.attachment.contents().words,
            since: moments.phase.timeText, cause: moments.phase.text, members: members,
            regionsToMakeEqual: status.unreconciledRegions, bytesToMakeEqual: unequalBytes,
            needs: needs(status, members), risks: risks(members), events: history.events)
    }

    private func needs(_ status: VolumeStatusReport, _ members: [VolumeExplanation.Member]) -> [String] {
        if status.phase == .deposed { return ["another host has the volume: detach it here"] }
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
        let unequal = status.unreconciledRegions
        if unequal > 0 {
            needs.append(
                "the members are being made equal after a death: \(unequal) regions "
                    + "(\(UInt64(unequal) * UInt64(status.regionSize)) bytes) are left")
        }
        return needs
    }

    private func risks(_ members: [VolumeExplanation.Member]) -> [String] {
        let inSync = members.filter { $0.state == "in sync" }.map { "member \($0.number) alone" }
        guard inSync.count < memberCount else { return [] }
        return [
            inSync.count < 2
                ? "\(inSync.first ?? "no member") is in sync and reached; replacing one of the others now would lose "
                    + "what only they hold"
                : "while fewer than three members are in sync, the loss of one more stops the volume"
        ]
    }

    func unknown(_ name: String) -> TercetError {
        let names = (wanted.keys.sorted() + devices.map(\.name)).map { "\"\($0)\"" }.joined(separator: ", ")
        return TercetError(.notFound, "there is no volume \"\(name)\"; there are \(names.isEmpty ? "none" : names)")
    }
}
