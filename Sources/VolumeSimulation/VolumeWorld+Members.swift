import Base
import BlockInterface
import Glibc
import Replication
import Simulation
import VolumeDriver

/// The view of a member's contents.
enum MemberView: Int, CaseIterable {
    /// Contents as reads see them now.
    case cached
    /// Contents after a loss of power that keeps nothing of the cache.
    case durable
}

/// The members' disks: records, maps, and whether they cover every difference.
extension VolumeWorld {
    func memory(_ member: MemberIndex, _ view: MemberView) -> UnsafeMutableRawBufferPointer {
        let disk = targets[member].disk
        return view == .cached ? disk.contents : disk.durableContents
    }

    /// The places of the members' metadata, by the best record that is found; as formatted if none is.
    var layouts: [MemberLayout] {
        guard let best = bestRecord else { return format.layouts }
        return layouts(best) ?? format.layouts
    }

    func layouts(_ record: Superblock) -> [MemberLayout]? {
        var found: [MemberLayout] = []
        for member in MemberSet.all {
            guard
                let layout = try? MemberLayout(
                    member: member, memberBlocks: record.members[member].blocks, geometry: record.geometry)
            else { return nil }
            found.append(layout)
        }
        return found
    }

    var bestRecord: Superblock? {
        MemberSet.all.compactMap { record($0) }.max { $0.stamp < $1.stamp }
    }

    /// The record of the volume that a member holds: at its end, or where its end was before it grew.
    func record(_ member: MemberIndex, _ view: MemberView = .cached) -> Superblock? {
        guard !strangers.contains(member) else { return nil }
        let disk = targets[member].disk
        var best: Superblock?
        let sizes = [disk.geometry.blockCount, registeredBlocks[member]]
        for blocks in sizes.prefix(sizes[0] == sizes[1] ? 1 : 2) {
            guard
                let slot = MemberLayout.slotBlock(0, memberBlocks: blocks, blockSize: profile.blockSize),
                let base = memory(member, view).baseAddress
            else { continue }
            let found = records.record(
                member, view, slots: base + Int(slot) * Int(profile.blockSize), pageSize: format.geometry.pageSize)
            if let found, found.volume == Self.volume, best.map({ $0.stamp < found.stamp }) ?? true { best = found }
        }
        return best
    }

    /// Checks that wherever two members differ, now or after a loss of power of one or both, a bit on one of the two says so:
    /// what a next initiator would go by. A member that has just been replaced is copied to whatever the bits say.
    func checkCoverage(_ when: String) {
        guard failure == nil, rottenRegion == nil else { return }
        let found = MemberSet.all.map { member in MemberView.allCases.map { record(member, $0) } }
        let members = MemberSet.all.subtracting(fresh).subtracting(strangers)
        for a in members {
            for b in members where b < a {
                var comparison = Comparison(a, b)
                for first in MemberView.allCases {
                    for second in MemberView.allCases {
                        if let region = uncoveredRegion(&comparison, first, second, found) {
                            return fail(
                                .uncoveredDifference,
                                "\(when): members \(b) (\(second)) and \(a) (\(first)) differ in region \(region), which "
                                    + "no bit covers")
                        }
                    }
                }
            }
        }
    }

    /// The differences between two members, as far as they are known while nothing changes.
    private struct Comparison {
        let a: MemberIndex
        let b: MemberIndex
        /// Of which geometry the rest is.
        private(set) var geometry: VolumeGeometry?
        /// Regions that differ as reads see them.
        private(set) var differing: [RegionIndex] = []

        init(_ a: MemberIndex, _ b: MemberIndex) { (self.a, self.b) = (a, b) }

        mutating func know(_ differing: [RegionIndex], of geometry: VolumeGeometry) {
            self.geometry = geometry
            self.differing = differing
        }
    }

    /// Regions in which two members differ, in their order. Each of the two has its media differ from what reads see in the blocks
    /// of its cache only: most regions are compared once for all views.
    private func differences(
        _ comparison: inout Comparison, _ first: MemberView, _ second: MemberView, _ geometry: VolumeGeometry
    ) -> [RegionIndex] {
        let (a, b) = (comparison.a, comparison.b)
        func differ(_ region: RegionIndex, _ first: MemberView, _ second: MemberView) -> Bool {
            !isEqual(memory(a, first), memory(b, second), geometry.blocks(ofRegion: region))
        }
        if comparison.geometry != geometry {
            let differing = profile.places.written(in: geometry.dataBlocks).flatMap { blocks -> [RegionIndex] in
                guard !isEqual(memory(a, .cached), memory(b, .cached), blocks) else { return [] }
                let regions = geometry.regions(start: blocks.lowerBound, count: UInt64(blocks.count))
                return regions.filter { differ($0, .cached, .cached) }
            }
            comparison.know(differing, of: geometry)
        }
        let cachedBlocks =
            (first == .durable ? targets[a].disk.blocksInCache : [])
            + (second == .durable ? targets[b].disk.blocksInCache : [])
        let touched = Set(cachedBlocks.lazy.filter { $0 < geometry.dataBlocks }.map { geometry.region(of: $0) })
        let others = comparison.differing.filter { !touched.contains($0) }
        return (others + touched.filter { differ($0, first, second) }).sorted()
    }

    /// A region in which two members differ without a bit that says so, where one is.
    private func uncoveredRegion(
        _ comparison: inout Comparison, _ first: MemberView, _ second: MemberView, _ records: [[Superblock?]]
    ) -> RegionIndex? {
        let (a, b) = (comparison.a, comparison.b)
        let best = MemberSet.all.compactMap {
            records[$0][$0 == a ? first.rawValue : $0 == b ? second.rawValue : MemberView.cached.rawValue]
        }.max { $0.stamp < $1.stamp }
        guard let best, best.inSync.contains(a) || best.inSync.contains(b) else { return nil }
        let differing = differences(&comparison, first, second, best.geometry)
        guard !differing.isEmpty, let layouts = layouts(best) else { return nil }
        return differing.first { region in
            !hasBit(a, BitmapPage.inFlightKind, region, layouts[a], first)
                && !hasBit(b, BitmapPage.inFlightKind, region, layouts[b], second)
                && !hasBit(a, b.number, region, layouts[a], first) && !hasBit(b, a.number, region, layouts[b], second)
        }
    }

    /// Whether two members' memories hold the same in some logical blocks.
    func isEqual(
        _ first: UnsafeMutableRawBufferPointer, _ second: UnsafeMutableRawBufferPointer, _ blocks: Range<UInt64>
    ) -> Bool {
        guard let a = first.baseAddress, let b = second.baseAddress else { return false }
        let size = Int(profile.blockSize)
        let start = Int(blocks.lowerBound) * size
        return memcmp(a + start, b + start, blocks.count * size) == 0
    }

    /// Whether a bit is set on a member; a page that is torn counts as all set.
    func hasBit(
        _ member: MemberIndex, _ kind: Int, _ region: RegionIndex, _ layout: MemberLayout, _ view: MemberView
    ) -> Bool {
        let (number, bit) = region.offset.quotientAndRemainder(dividingBy: format.geometry.bitsPerPage)
        let page = mapPage(member, kind, number, layout, view)
        // The bit first: a checksum takes longer.
        let isSet = page[BitmapPage.headerSize + bit / 8] >> UInt8(bit % 8) & 1 == 1
        return isSet || !BitmapPage.isIntact(page, volume: Self.volume, kind: kind, number: number)
    }

    /// Whether no bit is set in a page of a member's map.
    func isBlank(_ member: MemberIndex, _ kind: Int, page number: Int, _ layout: MemberLayout) -> Bool {
        let page = mapPage(member, kind, number, layout, .cached)
        return page[BitmapPage.headerSize...].allSatisfy { $0 == 0 }
            && BitmapPage.isIntact(page, volume: Self.volume, kind: kind, number: number)
    }

    private func mapPage(
        _ member: MemberIndex, _ kind: Int, _ number: Int, _ layout: MemberLayout, _ view: MemberView
    ) -> UnsafeMutableRawBufferPointer {
        let ordinal =
            kind == BitmapPage.inFlightKind
            ? BitmapPage.inFlightOrdinal : BitmapPage.behindOrdinal(of: MemberIndex(kind), on: member)
        let start = Int(layout.pageBlock(ordinal: ordinal, page: number)) * Int(profile.blockSize)
        return UnsafeMutableRawBufferPointer(
            rebasing: memory(member, view)[start..<start + format.geometry.pageSize])
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
