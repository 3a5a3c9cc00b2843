import BlockInterface
import Glibc
import Replication
import Simulation
import VolumeDriver

/// What is on the members' disks: records, maps, and whether they cover every difference.
extension VolumeWorld {
    /// Where the members' metadata is, by the best record that is found; as formatted where none is.
    var layouts: [MemberLayout] {
        guard let best = bestRecord else { return format.layouts }
        return layouts(best) ?? format.layouts
    }

    private func layouts(_ record: Superblock) -> [MemberLayout]? {
        var found: [MemberLayout] = []
        for member in 0..<memberCount {
            guard
                let layout = try? MemberLayout(
                    member: member, memberBlocks: record.members[member].blocks, geometry: record.geometry)
            else { return nil }
            found.append(layout)
        }
        return found
    }

    var bestRecord: Superblock? { (0..<memberCount).compactMap(record).max { $0.stamp < $1.stamp } }

    /// The record that a member holds: at its end, or where its end was before it grew.
    func record(_ member: MemberIndex) -> Superblock? {
        let disk = targets[member].disk
        var best: Superblock?
        for blocks in [disk.geometry.blockCount, registeredBlocks[member]] {
            guard
                let slot = MemberLayout.slotBlock(0, memberBlocks: blocks, blockSize: profile.blockSize),
                let base = disk.contents.baseAddress
            else { continue }
            let pageSize = format.geometry.pageSize
            let start = base + Int(slot) * Int(profile.blockSize)
            let found = try? Superblock.decode(
                member: member, slot0: UnsafeRawBufferPointer(start: start, count: pageSize),
                slot1: UnsafeRawBufferPointer(start: start + pageSize, count: pageSize))
            if let found, best.map({ $0.stamp < found.stamp }) ?? true { best = found }
        }
        return best
    }

    /// Checks that wherever two members differ, a bit on one of the two says so: what a next initiator would go by.
    func checkCoverage(_ when: String) {
        guard failure == nil, fresh == [], !isGrowing, rottenRegion == nil, let best = bestRecord,
            let layouts = layouts(best)
        else { return }
        for a in 0..<memberCount {
            for b in 0..<a where best.inSync.has(a) || best.inSync.has(b) {
                for region in 0..<best.geometry.regionCount where !isCovered(region, a, b, layouts) {
                    let blocks = best.geometry.blocks(ofRegion: region)
                    let range =
                        Int(blocks.lowerBound) * Int(profile.blockSize)..<Int(blocks.upperBound)
                        * Int(profile.blockSize)
                    let (first, second) = (targets[a].disk, targets[b].disk)
                    if !isEqual(first.contents, second.contents, range) {
                        return fail("\(when): members \(b) and \(a) differ in region \(region), which no bit covers")
                    }
                    if !isEqual(first.durableContents, second.contents, range)
                        || !isEqual(first.contents, second.durableContents, range)
                    {
                        return fail(
                            "\(when): members \(b) and \(a) would differ after a loss of power in region \(region), "
                                + "which no bit covers")
                    }
                }
            }
        }
    }

    func isEqual(
        _ first: UnsafeMutableRawBufferPointer, _ second: UnsafeMutableRawBufferPointer, _ range: Range<Int>
    ) -> Bool {
        guard let a = first.baseAddress, let b = second.baseAddress else { return false }
        return memcmp(a + range.lowerBound, b + range.lowerBound, range.count) == 0
    }

    private func isCovered(_ region: Int, _ a: MemberIndex, _ b: MemberIndex, _ layouts: [MemberLayout]) -> Bool {
        hasBit(a, BitmapPage.inFlightKind, region, layouts[a]) || hasBit(b, BitmapPage.inFlightKind, region, layouts[b])
            || hasBit(a, b, region, layouts[a]) || hasBit(b, a, region, layouts[b])
    }

    /// Whether a bit is set on a member; a page that is torn counts as all set.
    func hasBit(_ member: MemberIndex, _ kind: Int, _ region: Int, _ layout: MemberLayout) -> Bool {
        let ordinal =
            kind == BitmapPage.inFlightKind
            ? BitmapPage.inFlightOrdinal : BitmapPage.behindOrdinal(of: kind, on: member)
        let start = Int(layout.pageBlock(ordinal: ordinal, page: 0)) * Int(profile.blockSize)
        let page = UnsafeMutableRawBufferPointer(
            rebasing: targets[member].disk.contents[start..<start + format.geometry.pageSize])
        guard BitmapPage.isIntact(page, volume: Self.volume, kind: kind, number: 0) else { return true }
        return page[BitmapPage.headerSize + region / 8] >> UInt8(region % 8) & 1 == 1
    }

    // MARK: What is noted of a crash, and of a return

    /// A member can be reached again: whether its record is of an older epoch than the volume's.
    func noteReturn(_ member: MemberIndex) {
        guard let own = record(member), let best = bestRecord else { return }
        returnsBehind[member] = own.stamp.epoch < best.stamp.epoch
    }

    func noteCrash(_ initiator: InitiatorProcess) {
        guard let volume = initiator.volume, let workload = initiator.workload else { return }
        crashedWithWrites = workload.running.values.contains {
            $0.request.operation != .read && $0.request.operation != .flush
        }
        if initiator.phase == .serving, !volume.engine.status.isRecordValid { meet(.initiatorDiesInRecordUpdate) }
    }
}
