import Base
import Foundation
import Logging
import Succession
import VolumeRegistry
import VolumedConfiguration

/// The succession as operators see it: what they ask for, and what they are told.
extension Successor {
    /// Hands a volume over. Returns the successor, and how long it took to give it up, in milliseconds.
    func handOver(_ volume: String, to wanted: String?) async throws(TercetError) -> (String, Double) {
        _ = try successor(of: volume, wanted: wanted)
        await daemon.prepareToDetachOwned(volume)
        let successor = try successor(of: volume, wanted: wanted)
        let result = await withCheckedContinuation {
            (continuation: CheckedContinuation<Result<Double, TercetError>, Never>) in
            handOvers[volume] = HandOver(successor: successor, answer: continuation)
            take(.volume(volume, .handOver(to: successor)))
        }
        return (successor, try result.get())
    }

    /// The daemon that a volume goes to when it is handed over now.
    private func successor(of volume: String, wanted: String?) throws(TercetError) -> String {
        guard let present = state.volumes[volume] else {
            throw TercetError(.notFound, "volume \(volume): is not shared with other daemons")
        }
        let standbys = standbys(volume)
        if case .handOver = present.departure {
            throw TercetError(.inUse, "volume \(volume): is being handed over already")
        }
        guard present.canHandOver else {
            let owner = sightings[volume]?.owner.map { "\($0) owns it: ask that daemon" } ?? "nobody owns it yet"
            throw TercetError(.unavailable, "volume \(volume): is not served here; \(owner)")
        }
        guard let successor = wanted ?? standbys.first, standbys.contains(successor) else {
            let names = standbys.isEmpty ? "none" : standbys.joined(separator: ", ")
            throw TercetError(
                .invalid,
                "volume \(volume): \(wanted.map { "daemon \($0)" } ?? "no daemon") stands by for it; standing by: \(names)"
            )
        }
        return successor
    }

    /// Has the members of all volumes that are served here flush, before hosts have to wait.
    func prepareToStop() async {
        let served = state.volumes.filter { $0.value.isServing }.map(\.key)
        await withTaskGroup(of: Void.self) { tasks in
            for volume in served { tasks.addTask { await self.daemon.prepareToDetachOwned(volume) } }
        }
    }

    /// Whether a volume that is being left goes to a certain daemon.
    func isPassed(_ volume: String) -> Bool { state.volumes[volume]?.departure?.isToSuccessor == true }

    func words(_ departure: Departure) -> String {
        switch departure {
        case .leaseLost: "the lease has ended, or could not be renewed in time"
        case .claimLost: "the registry names another owner, or none"
        case .deposed: "another host has attached it"
        case .stalled: "too few of its members can be reached from here"
        case .handOver(let successor): "it is handed over to \(successor)"
        case .failBack(let successor): "it goes back to \(successor), which prefers it"
        case .stopping: "the daemon stops"
        }
    }

    func sight(_ volume: String, _ owner: String?) {
        guard let former = sightings[volume], former.owner != owner else { return }
        sightings[volume] = Sighting(owner: owner, changes: former.changes + 1)
        note(
            volume, .notice,
            owner.map { "owned by \($0)" + (former.owner.map { ", before by \($0)" } ?? "") }
                ?? "owned by nobody, before by \(former.owner ?? "nobody")")
    }

    func standbys(_ volume: String) -> [String] {
        let owner = state.volumes[volume]?.canHandOver == true ? settings.name : sightings[volume]?.owner
        return listing.daemons.map(\.record).filter { $0.volumes.contains(volume) && $0.name != owner }.map(\.name)
    }

    /// A volume's place among the daemons, in the words of the control socket.
    func ownership(_ volume: String) -> SuccessionReport? {
        guard let present = state.volumes[volume], let sighting = sightings[volume] else { return nil }
        let now = MonotonicTime.now()
        return SuccessionReport(
            daemon: settings.name, role: present.words, isServing: present.isServing, owner: sighting.owner,
            since: sighting.since,
            leaseEnd: state.lease.map { Date(timeIntervalSinceNow: Double($0.end.nanoseconds(since: now)) / 1e9) },
            standbys: standbys(volume), changes: sighting.changes)
    }
}

/// A volume's place among several daemons.
struct SuccessionReport: Sendable {
    var daemon: String
    var role: String
    var isServing: Bool
    var owner: String?
    var since: Date
    var leaseEnd: Date?
    var standbys: [String]
    var changes: Int
}

extension VolumeSuccession {
    var isServing: Bool { if case .serving = state { true } else { false } }

    var words: String {
        switch state {
        case .standingBy: "standing by"
        case .claiming: "claiming it"
        case .attaching, .attachingInVain: "attaching it"
        case .serving: "serving"
        case .leaving: "detaching it"
        case .givingUp: "giving it up"
        case .deposed: "waiting for the host that has taken it over"
        case .ended: "stopping"
        }
    }
}
