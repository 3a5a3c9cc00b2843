import Base
import BlockInterface
import Replication
import Simulation
import VolumeDriver

/// Reads of a scrub that go astray. A volume keeps no checksums: it cannot know which member has read the wrong block, and need not, as
/// long as nothing is copied and the next scrub finds all equal.
extension VolumeWorld {
    /// One member reads a region from beside where it is while a scrub runs: the region is told to differ and is not served, no member is
    /// changed, and it is served again once a scrub has found the members equal.
    func misreadAndScrub(_ initiator: InitiatorProcess, until deadline: MonotonicTime) {
        guard let volume = initiator.volume, let workload = initiator.workload else { return }
        // Regions that a write may just have touched are not compared: they rest first.
        workload.submit(.flush, start: 0, count: 0)
        run(until: deadline) { workload.running.isEmpty && volume.engine.status.dirtyRegions == 0 }
        let block = below(Int(profile.dataBlocks))
        let target = targets[below(memberCount)]
        let region = volume.engine.geometry.region(of: UInt64(block))
        let before = targets.map { data(of: $0, volume) }
        rottenRegion = region
        target.disk.behaviour.misreading = volume.engine.geometry.blocks(ofRegion: region)
        target.disk.behaviour.misreadDistance = chance(50) ? 1 : -1
        guard let found = scrub(initiator, until: deadline) else { return }
        target.disk.behaviour.misreading = 0..<0
        if found > 0 {
            meet(.scrubMisread)
            workload.submit(.read, start: block, count: 1)
            run(until: deadline) { workload.running.isEmpty }
            if workload.lastStatus != .unrecoveredReadError {
                fail(.rotNotHandled, "a region whose members differ for all that a scrub knows is served")
            }
            guard scrub(initiator, until: deadline) == 0 else {
                return fail(.rotNotHandled, "a scrub finds a difference that a read alone had made")
            }
        }
        let after = targets.map { data(of: $0, volume) }
        if before != after { fail(.rotNotHandled, "a read of a scrub that went astray has changed a member's data") }
        workload.submit(.read, start: block, count: 1)
        run(until: deadline) { workload.running.isEmpty }
        if workload.lastStatus != .success {
            fail(.rotNotHandled, "a region that a scrub found equal again is not served")
        }
        rottenRegion = nil
    }

    private func data(of target: TargetMachine, _ volume: Volume) -> [UInt8] {
        [UInt8](target.disk.contents.prefix(Int(volume.engine.geometry.dataBlocks) * Int(profile.blockSize)))
    }

    /// Scrubs, and returns how many differences were told; `nil` where the scrub does not end.
    private func scrub(_ initiator: InitiatorProcess, until deadline: MonotonicTime) -> UInt64? {
        let (told, finished) = (counts[.mismatchReported], counts[.scrubFinished])
        initiator.volume?.engine.startScrub()
        initiator.touch()
        guard run(until: deadline, { counts[.scrubFinished] > finished }) else {
            fail(.rotNotHandled, "a scrub does not end")
            return nil
        }
        return counts[.mismatchReported] - told
    }
}
