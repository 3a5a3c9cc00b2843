/// The places on one member: the data from block 0, the metadata at the end.
///
/// From the end backwards: superblock slot 1, superblock slot 0, then the three bitmaps. The slots can thus be found
/// from the member's size alone. All are whole pages; blocks behind the last whole page are not used.
public struct MemberLayout: Equatable, Sendable, BitwiseCopyable {
    /// The member's size in blocks for which the layout holds.
    public let memberBlocks: UInt64
    public let geometry: VolumeGeometry

    /// Superblock slots and bitmaps of a member.
    public static var slotCount: Int { 2 }
    public static var mapCount: Int { 3 }

    /// Throws `tooSmall` where data and metadata do not fit.
    public init(member: MemberIndex, memberBlocks: UInt64, geometry: VolumeGeometry) throws(MetadataError) {
        self.memberBlocks = memberBlocks
        self.geometry = geometry
        let needed = geometry.dataBlocks + Self.metadataBlocks(geometry)
        let usable = memberBlocks / geometry.blocksPerPage * geometry.blocksPerPage
        guard usable >= needed else { throw .tooSmall(member: member, found: memberBlocks, needed: needed) }
    }

    /// Blocks that the metadata takes.
    public static func metadataBlocks(_ geometry: VolumeGeometry) -> UInt64 {
        UInt64(slotCount + mapCount * geometry.pagesPerMap) * geometry.blocksPerPage
    }

    /// First block of superblock slot 0 or 1 on a member of `memberBlocks` blocks; `nil` where it is too small for any.
    public static func slotBlock(_ slot: Int, memberBlocks: UInt64, blockSize: UInt32) -> UInt64? {
        let perPage = UInt64(max(4096, blockSize) / blockSize)
        let pages = memberBlocks / perPage
        return pages < 2 ? nil : (pages - 2 + UInt64(slot)) * perPage
    }

    /// First block of superblock slot 0 or 1.
    public func slotBlock(_ slot: Int) -> UInt64 {
        (memberBlocks / geometry.blocksPerPage - 2 + UInt64(slot)) * geometry.blocksPerPage
    }

    /// First block of the first bitmap page: where the metadata starts.
    public var mapsStart: UInt64 {
        slotBlock(0) - UInt64(Self.mapCount * geometry.pagesPerMap) * geometry.blocksPerPage
    }

    /// First block of a page of one of the member's bitmaps.
    public func pageBlock(ordinal: Int, page: Int) -> UInt64 {
        mapsStart + UInt64(ordinal * geometry.pagesPerMap + page) * geometry.blocksPerPage
    }

    /// The largest volume, in blocks, that fits a member of `memberBlocks` blocks; `nil` where none does.
    public static func largestVolume(memberBlocks: UInt64, blockSize: UInt32, regionSize: UInt32) -> UInt64? {
        guard let whole = try? VolumeGeometry(blockSize: blockSize, regionSize: regionSize, dataBlocks: memberBlocks)
        else {
            return nil
        }
        let usable = memberBlocks / whole.blocksPerPage * whole.blocksPerPage
        let metadata = metadataBlocks(whole)
        return usable > metadata ? usable - metadata : nil
    }

    /// Blocks of the smallest member, in whole pages, whose largest volume has at least so many; `nil` where no volume has.
    public static func memberBlocks(forVolume blocks: UInt64, blockSize: UInt32, regionSize: UInt32) -> UInt64? {
        guard let geometry = try? VolumeGeometry(blockSize: blockSize, regionSize: regionSize, dataBlocks: blocks)
        else {
            return nil
        }
        let page = geometry.blocksPerPage
        var members = (blocks + page - 1) / page * page + metadataBlocks(geometry)
        // The maps of the metadata's own blocks may take another page.
        while let largest = largestVolume(memberBlocks: members, blockSize: blockSize, regionSize: regionSize) {
            if largest >= blocks { return members }
            members += page
        }
        return nil
    }
}
