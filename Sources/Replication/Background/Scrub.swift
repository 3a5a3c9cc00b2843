import Base
import Glibc

/// Compares the members in sync, region by region.
struct Scrub: ~Copyable {
    private(set) var isRunning = false
    /// The operation that compares a region just now.
    private var operation: OperationIndex?
    private var region: RegionIndex = 0
    private var cursor: UInt64 = 0
    private var chunk: UInt64 = 0
    private var compared: MemberSet = []
    private var mismatches = 0

    /// A region is being compared.
    var isComparing: Bool { operation != nil }

    mutating func start() {
        guard !isRunning else { return }
        isRunning = true
        region = 0
        mismatches = 0
    }

    mutating func stop() { isRunning = false }

    /// Starts the next region, when nothing of the scrub is under way.
    mutating func tick(_ operations: inout Operations, _ volume: inout VolumeState) {
        guard isRunning, operation == nil, volume.phase == .serving else { return }
        guard region.offset < volume.maps.regionCount else {
            isRunning = false
            return volume.notice(.scrubFinished(mismatches: mismatches))
        }
        guard let slot = operations.takeInternal(.scrub) else { return }
        operation = slot
        let blocks = volume.maps.geometry.blocks(ofRegion: region)
        cursor = blocks.lowerBound
        if operations.place(slot, start: blocks.lowerBound, count: UInt64(blocks.count), volume.maps.geometry) {
            dispatch(slot, &operations, &volume)
        } else {
            volume.outbox.statistics.overlapsHeld += 1
        }
    }

    mutating func dispatch(_ slot: OperationIndex, _ operations: inout Operations, _ volume: inout VolumeState) {
        let readers = volume.members.usedInSync
        var isCertain = !volume.maps.unreconciled[region]
        for member in MemberSet.all where volume.maps.repair(member)[region] { isCertain = false }
        guard volume.phase == .serving, readers.count > 1, isCertain else { return end(slot, &operations, &volume) }
        compareChunk(slot, readers, &operations, &volume)
    }

    private mutating func compareChunk(
        _ slot: OperationIndex, _ readers: MemberSet, _ operations: inout Operations, _ volume: inout VolumeState
    ) {
        let blocks = UInt64(volume.arena.layout.chunkSize) / UInt64(volume.configuration.blockSize)
        chunk = min(blocks, operations[slot].end - cursor)
        compared = readers
        operations.markIssued(slot, volume.now)
        operations[slot].progress.pending = readers
        for member in readers {
            volume.send(
                operations.tag(slot, member), .read, start: cursor, count: chunk,
                buffer: .arena(volume.arena.layout.scrub(member)))
        }
    }

    mutating func completed(
        _ slot: OperationIndex, _ member: MemberIndex, _ status: MemberStatus, _ operations: inout Operations,
        _ volume: inout VolumeState
    ) {
        let isUsed = volume.members.active.contains(member)
        if status != .success || !isUsed {
            compared.remove(member)
            // A latent error that a scrub finds is repaired like one that a read finds.
            if status == .mediaError, volume.members.usedInSync.contains(member) {
                volume.requestRepair([member], region...region)
            }
        }
        guard operations[slot].progress.pending == [] else { return }
        guard volume.phase == .serving else { return end(slot, &operations, &volume) }
        if areDifferent(volume) {
            mismatches += 1
            volume.outbox.statistics.mismatches += 1
            volume.quarantine(region)
            return end(slot, &operations, &volume)
        }
        cursor += chunk
        if cursor < operations[slot].end, compared.count > 1 {
            return compareChunk(slot, compared.intersection(volume.members.active), &operations, &volume)
        }
        volume.liftQuarantine(region, compared: compared)
        end(slot, &operations, &volume)
    }

    /// Whether what the members returned differs.
    private func areDifferent(_ volume: borrowing VolumeState) -> Bool {
        guard let first = compared.first, volume.rules.mustTellDifferences else { return false }
        let (base, layout) = (volume.arena.base, volume.arena.layout)
        let length = Int(chunk) * Int(volume.configuration.blockSize)
        for other in compared.without(first) {
            if memcmp(base + layout.scrub(first), base + layout.scrub(other), length) != 0 { return true }
        }
        return false
    }

    private mutating func end(_ slot: OperationIndex, _ operations: inout Operations, _ volume: inout VolumeState) {
        volume.outbox.statistics.regionsScrubbed += 1
        operation = nil
        region = region.next
        operations.release(slot)
    }
}
