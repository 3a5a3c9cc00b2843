import Base
import NVMeInitiator
import Replication
import VolumeDriver
import VolumeRegistry

/// Brings an entry whose command has died, and its members, into a state that is one.
struct Settlement {
    let volume: ChosenVolume
    let registration: Registration
    let group: InitiatorGroup
    private var entry: VolumeEntry { registration.entry }

    /// The state of the members.
    private struct Findings {
        /// Records of the volume, by member.
        var ours: [Int: Superblock] = [:]
        /// Members that can be looked at and hold no record of the volume.
        var others: [Int] = []
        /// Members that cannot be looked at, and why.
        var unreachable: [String] = []

        var newest: Superblock? { ours.values.max { $0.stamp < $1.stamp } }
    }

    private func look() async -> Findings {
        var findings = Findings()
        for (place, survey) in await volume.survey(group).enumerated() {
            switch survey.superblock {
            case .success(let record) where record.volume == entry.uuid: findings.ours[place] = record
            case .success: findings.others.append(place)
            // There is something else, or nothing.
            case .failure(let error) where error.code == .damaged: findings.others.append(place)
            case .failure(let error): findings.unreachable.append(error.description)
            }
        }
        return findings
    }

    /// Nothing can be settled: the operation stays as it is, for the next check.
    private func left(_ reason: String) -> TercetError {
        TercetError(.unavailable, "volume \(entry.name): is left as it is: \(reason)")
    }

    // MARK: Creation and end

    func settleCreation() async throws(TercetError) -> String {
        let found = await look()
        guard found.unreachable.isEmpty else { throw left(found.unreachable.joined(separator: "; ")) }
        if found.others.isEmpty, let newest = found.newest {
            // The records are the last that a creation writes.
            if found.ours.values.allSatisfy(\.wasNeverAttached) { try await clearReservations([0, 1, 2]) }
            try await registration.change { entry in
                entry.size = newest.geometry.byteCount
                entry.state = .ready
                entry.operation = nil
            }
            return "its creation was complete; it is ready"
        }
        guard found.ours.values.allSatisfy(\.wasNeverAttached) else {
            throw left(
                "a host has attached it, and members \(found.others) hold nothing of it; look at tercet volume status")
        }
        try await removeAll(found)
        return "its creation was not complete; nothing of it is left"
    }

    func settleEnd() async throws(TercetError) -> String {
        let found = await look()
        guard found.unreachable.isEmpty else { throw left(found.unreachable.joined(separator: "; ")) }
        try await removeAll(found)
        return "its end was not complete; nothing of it is left"
    }

    /// Wipes what is there of the volume, and nothing else, and then its entry.
    private func removeAll(_ found: Findings) async throws(TercetError) {
        let ours = found.ours.keys.sorted()
        if !ours.isEmpty {
            try await probe(ours) { probe throws(TercetError) in
                try await TakeOver.none.check(probe)
                try await probe.destroy()
            }
        }
        try await clearReservations(found.others)
        try await registration.remove()
    }

    private func clearReservations(_ places: [Int]) async throws(TercetError) {
        guard !places.isEmpty else { return }
        try await probe(places) { probe throws(TercetError) in try await probe.clearAbandonedReservations() }
    }

    private func probe<Result>(
        _ places: [Int], _ body: (MemberProbe) async throws(TercetError) -> Result
    ) async throws(TercetError) -> Result {
        try await volume.probe(group, at: places.map { volume.members[$0] }, body)
    }

    // MARK: Changes

    func settleReplacement(_ operation: VolumeOperation) async throws(TercetError) -> String {
        guard let member = operation.member, let address = operation.address else {
            throw left("it says not which member")
        }
        let found = await look()
        // Each record names all members; the two that stay have to be asked, as one may have been away.
        guard MemberSet.all.without(MemberIndex(member)).allSatisfy({ found.ours[$0.number] != nil }),
            let newest = found.newest
        else { throw left("the two other members have to be read for that: tercet volume status \(entry.name)") }
        let present = newest.members[member].uuid
        let new = try? await volume.probe(group, at: [address]) { probe throws(TercetError) in probe.identity(0) }
        if present == new {
            try await registration.change { entry in
                if let new { entry.replace(member, with: address, new) }
                entry.operation = nil
            }
            return "member \(member) is \(address) now; tercet volume heal brings it into sync"
        }
        guard present == entry.members[member].identity else {
            throw left(
                "member \(member) is a namespace that is neither the former one nor \(address), if that can be reached")
        }
        try await registration.change { $0.operation = nil }
        return "member \(member) was not replaced; it is the former one"
    }

    func settleGrowth() async throws(TercetError) -> String {
        let found = await look()
        guard found.ours.count >= 2, let newest = found.newest else {
            throw left("two members have to be read for that: tercet volume status \(entry.name)")
        }
        try await registration.change { entry in
            entry.size = newest.geometry.byteCount
            entry.operation = nil
        }
        return "it has \(newest.geometry.byteCount) bytes"
    }
}
