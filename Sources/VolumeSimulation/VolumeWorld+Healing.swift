import Base
import BlockInterface
import NVMeSpec
import NVMeTarget
import Replication
import Simulation
import VolumeDriver

/// The end of a world: the faults stop, and everything has to come right.
extension VolumeWorld {
    /// Virtual time within which all members are in sync once the faults have stopped: some five times the longest that
    /// thousands of seeds took. A page of a bitmap that was torn or misread has all its regions copied.
    var healingBound: UInt64 { profile.scale > 1 || profile.places.gap > 0 ? 120_000_000_000 : 2_000_000_000 }

    /// Virtual time within which a volume in sync is read, scrubbed and detached.
    var endingBound: UInt64 { profile.scale > 1 ? 60_000_000_000 : 1_000_000_000 }

    func heal() {
        isHealing = true
        trace { "HEAL" }
        links.heal()
        crashesAtLossOf = nil
        crashesAtAcknowledgement = nil
        for member in strangers { sendFormerAway(member) }
        healMachines()
        for initiator in alive {
            initiator.goOn()
            initiator.returnDevice()
            initiator.volume?.engine.resumeResync()
        }
        // One that began before the operator replaced a member or grew the volume through another has to be told; and where
        // metadata was misread, or another namespace was in a member's place, what was refused is what it should be, which an operator
        // finds out by attaching anew.
        for initiator in alive where !isInformed(initiator) || isMisread || hadStrangers != [] {
            end(initiator, isSilent: false)
        }
        if alive.isEmpty { startInitiator() }
        // Commands that are stuck end first, or time out; and a message that was lost is noticed when its retries are over.
        let began = network.now
        let calm = began.advanced(byNanoseconds: profile.scale > 1 ? 2_000_000_000 : 300_000_000)
        var allowance: CopyAllowance?
        run(until: began.advanced(byNanoseconds: healingBound)) {
            guard network.now >= calm else { return false }
            if allowance == nil { allowance = allowCopies() }
            return isWhole
        }
        counts.longestHealing = network.now.nanoseconds - began.nanoseconds
        guard failure == nil else { return }
        guard isWhole, let initiator = current else {
            return failNotWhole()
        }
        judge(allowance)
        second?.finish(within: healingBound)
        guard failure == nil else { return }
        initiator.workload?.isStopped = true
        allowance = allowCopies()
        var deadline = network.now.advanced(byNanoseconds: endingBound)
        run(until: deadline) { initiator.workload?.running.isEmpty ?? true }
        readEverything(initiator, until: deadline)
        if failure == nil { awaitCleanMaps(initiator, until: deadline) }
        judge(allowance)
        if failure == nil, profile.rots { rotAndScrub(initiator, until: deadline) }
        if failure == nil, profile.misreadsScrub {
            let began = network.now
            misreadAndScrub(initiator, until: began.advanced(byNanoseconds: endingBound))
            deadline = deadline.advanced(byNanoseconds: network.now.nanoseconds(since: began))
        }
        if failure == nil { detach(initiator, until: deadline) }
        counts.longestEnding = network.now.nanoseconds + endingBound - deadline.nanoseconds
        if failure == nil { compareMembers() }
        if failure == nil { findLeftovers() }
    }

    /// Targets and their disks work again.
    private func healMachines() {
        for target in targets {
            var behaviour = target.disk.behaviour
            behaviour.slowness = 0
            behaviour.isStuck = false
            behaviour.fullBlocks = 0..<0
            behaviour.failingWrites = 0..<0
            behaviour.failedFlush = nil
            behaviour.tailRarity = 0
            behaviour.misreading = 0..<0
            target.store.fails = false
            target.disk.behaviour = behaviour
            target.disk.makeReadable()
            target.goOn()
            target.returnDevice()
            target.setAccess(.optimized)
            target.putDriveBack()
            bringBack(target)
        }
    }

    private func failNotWhole() {
        let states = alive.map { initiator in
            "h\(initiator.number) \(initiator.phase), \(initiator.workload?.running.count ?? 0) I/Os under way, "
                + (initiator.volume.map { "\($0.engine.status)" } ?? "")
        }
        let missing = targets.flatMap { target in
            (target.process?.missing ?? []).map { "target \(target.index): \($0)" }
        }
        fail(
            .notWhole, "not whole \(healingBound / 1_000_000) ms after the faults stopped: \(missing) \(states)")
    }

    private var isWhole: Bool {
        guard let initiator = current, alive.count == 1, let volume = initiator.volume,
            initiator.phase == .serving
        else { return false }
        guard volume.engine.membersInSync == .all else { return false }
        let status = volume.engine.status
        return status.members.allSatisfy { $0.isInSync && $0.phase == .active } && status.unreconciledRegions == 0
            && status.isRecordValid && status.quarantinedRegions == 0
    }

    /// Bits are cleared once nothing is written any more: a volume that keeps them would copy at its next attach what nobody
    /// wrote.
    private func awaitCleanMaps(_ initiator: InitiatorProcess, until deadline: MonotonicTime) {
        guard profile.awaitsCleanMaps, let volume = initiator.volume else { return }
        let isClean = run(until: deadline) { volume.engine.status.dirtyRegions == 0 }
        if !isClean, failure == nil {
            fail(.notClean, "\(volume.engine.status.dirtyRegions) regions stay dirty, and nobody writes")
        }
    }

    private func readEverything(_ initiator: InitiatorProcess, until deadline: MonotonicTime) {
        guard let workload = initiator.workload else { return }
        var block = 0
        while failure == nil, block < history.blocks.count {
            let longest = max(1, profile.bufferBytes / Int(profile.blockSize))
            let most = min(8, longest, profile.maximumTransfer / Int(profile.blockSize), history.blocks.count - block)
            let count = profile.places.adjoining(block, count: most)
            workload.submit(.read, start: block, count: count)
            guard run(until: deadline, { workload.running.isEmpty }) else { break }
            if workload.lastStatus != .success {
                return fail(
                    .notWhole, "reading block \(block) ends in \(workload.lastStatus.map { "\($0)" } ?? "nothing")")
            }
            block += count
        }
        if failure == nil, block < history.blocks.count { fail(.notWhole, "reading everything does not end") }
    }

    /// A block goes bad below all that the volume knows of: a scrub reports it, nobody votes, and the operator chooses.
    private func rotAndScrub(_ initiator: InitiatorProcess, until deadline: MonotonicTime) {
        guard let volume = initiator.volume, let workload = initiator.workload else { return }
        // Regions that a write may just have touched are not compared: they rest first.
        workload.submit(.flush, start: 0, count: 0)
        run(until: deadline) { workload.running.isEmpty && volume.engine.status.dirtyRegions == 0 }
        let block = below(Int(profile.dataBlocks))
        let member = MemberIndex(below(memberCount))
        let region = format.geometry.region(of: UInt64(block))
        rottenRegion = region
        let offset = block * Int(profile.blockSize) + below(Int(profile.blockSize))
        for memory in [targets[member].disk.contents, targets[member].disk.durableContents] { memory[offset] ^= 0xFF }
        let before = counts[.mismatchReported]
        volume.engine.startScrub()
        initiator.touch()
        guard run(until: deadline, { counts[.mismatchReported] > before }) else {
            if failure == nil {
                fail(.rotNotHandled, "a scrub does not find that region \(region) differs on member \(member)")
            }
            return
        }
        workload.submit(.read, start: block, count: 1)
        run(until: deadline) { workload.running.isEmpty }
        if workload.lastStatus != .unrecoveredReadError {
            fail(.rotNotHandled, "a region whose members differ is served")
        }
        volume.engine.repairRegion(region, from: member.next, now: initiator.now)
        initiator.touch()
        run(until: deadline) { volume.engine.status.quarantinedRegions == 0 }
        workload.submit(.read, start: block, count: 1)
        run(until: deadline) { workload.running.isEmpty }
        if failure == nil, workload.lastStatus != .success { fail(.rotNotHandled, "a repaired region is not served") }
        rottenRegion = nil
        meet(.regionQuarantined)
    }

    private func detach(_ initiator: InitiatorProcess, until deadline: MonotonicTime) {
        isFinished = true
        initiator.touch()
        guard let volume = initiator.volume, volume.engine.detach(now: initiator.now) else {
            return fail(.notClean, "a detach is refused")
        }
        run(until: deadline) { !initiator.isAlive }
        if failure == nil, initiator.isAlive { fail(.notClean, "a detach does not end: \(volume.engine.status)") }
    }

    private func compareMembers() {
        guard let best = bestRecord else { return fail(.notClean, "no member has a record") }
        func areEqual(_ first: UnsafeMutableRawBufferPointer, _ second: UnsafeMutableRawBufferPointer) -> Bool {
            profile.places.written(in: best.geometry.dataBlocks).allSatisfy { isEqual(first, second, $0) }
        }
        for other in 1..<memberCount where !areEqual(targets[0].disk.contents, targets[other].disk.contents) {
            fail(.differingMembers, "members 0 and \(other) differ after a clean detach")
        }
        compareWithHistory()
        for target in targets {
            if (0..<target.disk.geometry.blockCount).contains(where: target.disk.isUnflushed) {
                fail(.notClean, "member \(target.index) has unflushed blocks after a clean detach")
            }
            if !areEqual(target.disk.contents, target.disk.durableContents) {
                fail(
                    .notClean,
                    "member \(target.index) has data after a clean detach that would not outlive a loss of power")
            }
            findBits(target.index, best)
            guard let record = record(target.index) else {
                return fail(.notClean, "member \(target.index) has no record")
            }
            if !record.isClean || record.inSync != .all {
                fail(.notClean, "member \(target.index) is not marked clean")
            }
        }
    }

    /// The members hold the acknowledged data: another host's reader would see it.
    private func compareWithHistory() {
        let size = Int(profile.blockSize)
        for (block, state) in history.blocks.enumerated() where !state.isUnknown {
            let start = profile.places.address(of: block) * size
            let content = UnsafeRawBufferPointer(rebasing: targets[0].disk.contents[start..<start + size])
            guard let value = BlockContent.value(of: block, in: content) else {
                return fail(.tornBlock, "after a clean detach block \(block) \(BlockContent.describe(content))")
            }
            if !state.candidates.contains(value) {
                return fail(
                    .contents, "after a clean detach block \(block) holds \(value); possible: \(state.candidates)")
            }
        }
    }

    /// The first region whose bit is set in a map of a member, where one is.
    private func firstBit(
        _ member: MemberIndex, _ kind: Int, _ geometry: VolumeGeometry, _ layout: MemberLayout
    ) -> RegionIndex? {
        let regions = geometry.allRegions
        for number in 0..<geometry.pagesPerMap where !isBlank(member, kind, page: number, layout) {
            let first = RegionIndex(number * geometry.bitsPerPage)
            if let found = (first..<regions.upperBound).first(where: { hasBit(member, kind, $0, layout, .cached) }) {
                return found
            }
        }
        return nil
    }

    /// No bit is left on a member whose volume was detached.
    private func findBits(_ member: MemberIndex, _ record: Superblock) {
        guard let layouts = layouts(record) else {
            return fail(.notClean, "the record's sizes have no room for its metadata")
        }
        for kind in [BitmapPage.inFlightKind] + MemberSet.all.without(member).map(\.number) {
            let region = firstBit(member, kind, record.geometry, layouts[member])
            if let region {
                let name = kind == BitmapPage.inFlightKind ? "in flight" : "behind, of member \(kind)"
                fail(.notClean, "member \(member) has a bit (\(name)) of region \(region) after a clean detach")
            }
        }
    }

    /// Everything is back in its pools.
    private func findLeftovers() {
        healedAt = network.now
        // A queue pair whose host went without a word before it had sent Connect is kept for 30 s.
        run(until: network.now.advanced(byNanoseconds: 40_000_000_000)) { targets.allSatisfy { $0.leftovers.isEmpty } }
        for problem in targets.flatMap(\.leftovers) + initiators.flatMap(\.leftovers) {
            fail(.leftBehind, "left behind: \(problem)")
        }
    }
}
