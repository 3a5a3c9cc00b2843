/// Sizes that all members share.
public struct VolumeGeometry: Equatable, Sendable, BitwiseCopyable {
    /// Bytes of a logical block: a power of two from 512 to 65536.
    public var blockSize: UInt32
    /// Bytes of a region, the unit of tracking and copying: a power of two from one page to 1 GiB.
    public var regionSize: UInt32
    /// Logical blocks of the volume.
    public var dataBlocks: UInt64

    /// The region size unless another is chosen: 1 MiB.
    public static var defaultRegionSize: UInt32 { 1 << 20 }

    /// The most regions that a volume may have: 2^27. An attached volume takes some 4 bytes of memory for each.
    public static var maximumRegionCount: UInt64 { 1 << 27 }

    /// Throws `invalidGeometry` where the values are impossible.
    public init(blockSize: UInt32, regionSize: UInt32 = defaultRegionSize, dataBlocks: UInt64) throws(MetadataError) {
        self.blockSize = blockSize
        self.regionSize = regionSize
        self.dataBlocks = dataBlocks
        if let problem = Self.problem(blockSize: blockSize, regionSize: regionSize, dataBlocks: dataBlocks) {
            throw .invalidGeometry(problem)
        }
    }

    static func problem(blockSize: UInt32, regionSize: UInt32, dataBlocks: UInt64) -> String? {
        guard blockSize.nonzeroBitCount == 1, (512...65536).contains(blockSize) else {
            return "block size \(blockSize) is not a power of two from 512 to 65536"
        }
        guard regionSize.nonzeroBitCount == 1, regionSize >= max(4096, blockSize), regionSize <= 1 << 30 else {
            return "region size \(regionSize) is not a power of two from \(max(4096, blockSize)) to 1073741824"
        }
        guard dataBlocks > 0, dataBlocks <= UInt64(Int64.max) / UInt64(blockSize) else {
            return "\(dataBlocks) data blocks"
        }
        guard (dataBlocks - 1) / UInt64(regionSize / blockSize) < maximumRegionCount else {
            return
                "\(dataBlocks) data blocks are more than \(maximumRegionCount) regions of \(regionSize) bytes; choose "
                + "larger regions"
        }
        return nil
    }

    /// Logical blocks of a region; the volume's last region may have fewer.
    @inlinable public var blocksPerRegion: UInt64 { UInt64(regionSize / blockSize) }

    /// Regions of the volume.
    @inlinable public var regionCount: Int { Int((dataBlocks + blocksPerRegion - 1) / blocksPerRegion) }

    /// All regions of the volume.
    @inlinable public var allRegions: Range<RegionIndex> { 0..<RegionIndex(regionCount) }

    /// Bytes of a metadata page: 4096, or one block where blocks are larger.
    @inlinable public var pageSize: Int { max(4096, Int(blockSize)) }

    /// Quarantined regions that a superblock has room to name: 952, or more where pages are larger.
    public var quarantineCapacity: Int { (pageSize - Superblock.fixedSize) / 4 }

    /// Logical blocks of a metadata page.
    @inlinable public var blocksPerPage: UInt64 { UInt64(pageSize) / UInt64(blockSize) }

    /// Bits that a bitmap page holds.
    @inlinable public var bitsPerPage: Int { (pageSize - BitmapPage.headerSize) * 8 }

    /// Pages of one bitmap.
    @inlinable public var pagesPerMap: Int { (regionCount + bitsPerPage - 1) / bitsPerPage }

    /// The region that a block lies in. The block lies within the volume.
    @inlinable public func region(of block: UInt64) -> RegionIndex {
        RegionIndex(position: UInt32(truncatingIfNeeded: block / blocksPerRegion))
    }

    /// The regions that a range of blocks touches. The range is not empty and lies within the volume.
    @inlinable public func regions(start: UInt64, count: UInt64) -> ClosedRange<RegionIndex> {
        region(of: start)...region(of: start + count - 1)
    }

    /// The blocks of a region.
    @inlinable public func blocks(ofRegion region: RegionIndex) -> Range<UInt64> {
        let start = UInt64(region.position) * blocksPerRegion
        return start..<min(start + blocksPerRegion, dataBlocks)
    }
}
