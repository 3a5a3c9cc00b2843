import NVMeSpec
import Replication

/// The health of a volume, by its members' records: whether all is well, and what is not. For an operator, and for a program in
/// an operator's place.
public struct VolumeHealth: Sendable {
    public enum Grade: String, Sendable {
        /// All members can be read and hold every acknowledged write.
        case healthy
        /// The volume can be served, and something needs care.
        case degraded
        /// Too few members can be read for the volume to be served.
        case unavailable
    }

    public private(set) var grade = Grade.healthy
    /// Problems, a sentence each; empty where the volume is healthy.
    public private(set) var problems: [String] = []
    /// The newest record that was found.
    public let newest: Superblock?
    /// Hosts that have the volume attached, each once, with the first member that tells of it.
    public private(set) var hosts: [(member: MemberAddress, host: PresentHost)] = []

    /// - Parameters:
    ///   - members: in the order in which they were given.
    ///   - surveys: what was found at each.
    public init(_ members: [MemberAddress], _ surveys: [MemberSurvey]) {
        newest = surveys.compactMap { try? $0.superblock.get() }.max { $0.stamp < $1.stamp }
        for (address, survey) in zip(members, surveys) {
            for host in survey.presentHosts
            where !hosts.contains(where: { $0.host.registrant.hostID == host.registrant.hostID }) {
                hosts.append((address, host))
            }
        }
        var usable = 0
        for (index, survey) in surveys.enumerated() {
            if isUsable(MemberIndex(index), survey) { usable += 1 }
        }
        judgeRecord()
        if isUnfinished(surveys) {
            problems.append("its creation was not finished: create it again; it holds nothing")
        }
        let needed = max(2, newest?.minimumCopies ?? 2)
        if newest == nil || usable < needed {
            grade = .unavailable
        } else if !problems.isEmpty {
            grade = .degraded
        }
    }

    /// Whether a member can be one of those that the volume is served by; notes what is wrong with it.
    private mutating func isUsable(_ index: MemberIndex, _ survey: MemberSurvey) -> Bool {
        guard case .success(let found) = survey.superblock, let newest else {
            problems.append("member \(index) cannot be used")
            return false
        }
        if let slot = survey.damagedSlot { problems.append("member \(index): slot \(slot) of its record is damaged") }
        if found.volume != newest.volume {
            problems.append("member \(index) belongs to volume \(found.volume), not to \(newest.volume)")
        } else if found.member != index {
            problems.append("member \(index) is member \(found.member) of the volume: give the members in their order")
        } else if found.members[index].uuid != newest.members[index].uuid {
            problems.append("member \(index) was replaced by another namespace: give that one's address")
        } else {
            if newest.members[index].state == .behind { problems.append("member \(index) is behind") }
            return true
        }
        return false
    }

    private mutating func judgeRecord() {
        guard let newest, !newest.quarantine.isEmpty else { return }
        problems.append("members differ in regions " + newest.quarantine.map(\.description).joined(separator: ", "))
    }

    /// A creation that died leaves records that nobody has attached on some members, and none on the others.
    private func isUnfinished(_ surveys: [MemberSurvey]) -> Bool {
        guard let newest, newest.wasNeverAttached else { return false }
        return surveys.contains { $0.isBlank }
    }
}
