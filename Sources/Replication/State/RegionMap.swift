import Base

/// A bit per region.
typealias RegionMap = BitTable<RegionIndex>
typealias RegionBits = BitView<RegionIndex>

extension BitView<RegionIndex> {
    /// True where all of `regions` are set.
    @inline(__always)
    func hasAll(_ regions: ClosedRange<RegionIndex>) -> Bool {
        var region = regions.lowerBound
        while region <= regions.upperBound {
            if !self[region] { return false }
            region = region.next
        }
        return true
    }

    @inline(__always)
    func hasAny(_ regions: ClosedRange<RegionIndex>) -> Bool {
        var region = regions.lowerBound
        while region <= regions.upperBound {
            if self[region] { return true }
            region = region.next
        }
        return false
    }
}
