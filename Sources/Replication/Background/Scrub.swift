import Base
import Glibc

/// Compares the members in sync, region by region, in the background.
struct Scrub: ~Copyable {
    var isRunning = false
    var slot: Int32 = -1
    var region = 0
    var cursor: UInt64 = 0
    var chunk: UInt64 = 0
    var compared: MemberSet = []
    var mismatches = 0
}

extension VolumeEngine {
    /// Compares all regions once; `scrubFinished` tells the result, and `mismatch` each region that differs.
    public mutating func startScrub() {
        guard !scrub.isRunning else { return }
        scrub.isRunning = true
        scrub.region = 0
        scrub.mismatches = 0
    }

    public mutating func stopScrub() { scrub.isRunning = false }

    /// Declares `source` right for a region in which a scrub found members to differ: it is copied to the others, and
    /// served again.
    public mutating func repairRegion(_ region: Int, from source: MemberIndex, now: MonotonicTime) {
        self.now = now
        guard phase == .serving, region < maps.regionCount, readers.contains(source) else { return }
        for member in MemberSet.all where member != source {
            if readers.contains(member) {
                maps.repair[member][region] = true
            } else {
                _ = requestBehind(member, region...region)
            }
        }
        let wasQuarantined = maps.quarantine[region]
        maps.quarantine[region] = false
        if wasQuarantined { markUnreconciled(region) }
        copies.mayStart = true
        pump()
    }

    /// Starts the next region, when nothing of the scrub is under way.
    mutating func tickScrub() {
        guard scrub.isRunning, scrub.slot < 0, phase == .serving else { return }
        guard scrub.region < maps.regionCount else {
            scrub.isRunning = false
            return notice(.scrubFinished(mismatches: scrub.mismatches))
        }
        guard let slot = takeInternalSlot(.scrub) else { return }
        scrub.slot = slot
        let blocks = maps.geometry.blocks(ofRegion: scrub.region)
        scrub.cursor = blocks.lowerBound
        place(slot, start: blocks.lowerBound, count: UInt64(blocks.count))
    }

    mutating func dispatchScrub(_ slot: Int32) {
        let region = scrub.region
        let readers = active.intersection(inSync)
        let isUncertain = maps.unreconciled[region] || MemberSet.all.contains { maps.repair[$0][region] }
        guard phase == .serving, readers.count > 1, !isUncertain else { return endScrubbed(slot) }
        compareChunk(slot, readers)
    }

    private mutating func compareChunk(_ slot: Int32, _ readers: MemberSet) {
        let index = Int(slot)
        let end = slots[index].start + slots[index].count
        scrub.chunk = min(UInt64(arenaLayout.chunkSize) / UInt64(configuration.blockSize), end - scrub.cursor)
        scrub.compared = readers
        markIssued(slot)
        slots[index].pending = readers
        for member in readers {
            send(
                Tag(.operation, member: member, index: index, generation: slots[index].generation), .read,
                start: scrub.cursor, count: scrub.chunk, owner: .arena, buffer: UInt64(arenaLayout.scrub(member)))
        }
    }

    mutating func scrubCompleted(_ slot: Int32, _ member: MemberIndex, _ status: MemberStatus) {
        let index = Int(slot)
        if status != .success || !isUsable(member) {
            scrub.compared.remove(member)
            // A latent error that a scrub finds is repaired like one that a read finds.
            if status == .mediaError, isUsable(member), inSync.contains(member) {
                requestRepair(MemberSet(member), scrub.region...scrub.region)
            }
        }
        guard slots[index].pending == [] else { return }
        guard phase == .serving else { return endScrubbed(slot) }
        let length = Int(scrub.chunk) * Int(configuration.blockSize)
        let first = scrub.compared.first ?? 0
        for other in scrub.compared.without(first) {
            if memcmp(arena + arenaLayout.scrub(first), arena + arenaLayout.scrub(other), length) != 0 {
                scrub.mismatches += 1
                statistics.mismatches += 1
                quarantine(scrub.region)
                return endScrubbed(slot)
            }
        }
        scrub.cursor += scrub.chunk
        if scrub.cursor < slots[index].start + slots[index].count, scrub.compared.count > 1 {
            return compareChunk(slot, scrub.compared.intersection(active))
        }
        liftQuarantine(scrub.region, compared: scrub.compared)
        endScrubbed(slot)
    }

    private mutating func endScrubbed(_ slot: Int32) {
        statistics.regionsScrubbed += 1
        scrub.slot = -1
        scrub.region += 1
        release(slot)
    }
}
