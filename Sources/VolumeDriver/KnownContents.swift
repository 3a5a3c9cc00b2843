import Base
import BlockInterface
import Synchronization

/// The knowledge of a volume's contents, region by region: which read as zeroes for certain, and which have been changed since the last
/// clean detach. Both are told on the side of caution: of a region nobody knows anything, it holds data and has been changed.
///
/// Kept in memory for as long as the volume is attached. The volume's thread changes it; any thread may read it.
final class KnownContents: @unchecked Sendable {
    // Unchecked: the words are atomic, the rest belongs to the volume's thread.

    let regionCount: Int
    private let shift: UInt64
    private let byteCount: UInt64
    private let wordCount: Int
    private let zero: UnsafeMutablePointer<Atomic<UInt64>>
    private let changed: UnsafeMutablePointer<Atomic<UInt64>>
    /// Ranges that are being zeroed.
    private var zeroing: [Zeroing] = []
    private static let maximumZeroing = 64

    private struct Zeroing {
        var tag: UInt64
        var owner: ObjectIdentifier
        var range: Range<UInt64>
        /// Data has been on its way to the range meanwhile: nobody knows which came last.
        var isSpoiled: Bool
    }

    /// - Parameters:
    ///   - regionSize: bytes, a power of two.
    ///   - isBlank: everything reads as zeroes.
    ///   - isChanged: everything may have been changed.
    init(byteCount: UInt64, regionSize: UInt32, isBlank: Bool, isChanged: Bool) {
        self.byteCount = byteCount
        shift = UInt64(regionSize.trailingZeroBitCount)
        regionCount = Int((byteCount + UInt64(regionSize) - 1) >> shift)
        wordCount = (regionCount + 63) / 64
        zero = .allocate(capacity: wordCount)
        changed = .allocate(capacity: wordCount)
        for word in 0..<wordCount {
            (zero + word).initialize(to: Atomic(isBlank ? .max : 0))
            (changed + word).initialize(to: Atomic(isChanged ? .max : 0))
        }
        zeroing.reserveCapacity(Self.maximumZeroing)
    }

    deinit {
        zero.deinitialize(count: wordCount)
        changed.deinitialize(count: wordCount)
        zero.deallocate()
        changed.deallocate()
    }

    /// The same for a volume that has grown: of its new part nothing is known.
    func grown(to byteCount: UInt64) -> KnownContents {
        let grown = KnownContents(byteCount: byteCount, regionSize: 1 << shift, isBlank: false, isChanged: true)
        // The last region may reach further now.
        for region in 0..<max(0, regionCount - 1) {
            if bit(zero, region) { grown.set(grown.zero, region) }
            if !bit(changed, region) { grown.clear(grown.changed, region) }
        }
        grown.zeroing = zeroing.map {
            var entry = $0
            entry.isSpoiled = true
            return entry
        }
        return grown
    }

    // MARK: The volume's thread

    /// An I/O is about to be submitted.
    @inline(__always)
    func begin(_ request: BlockRequest) {
        switch request.operation {
        case .write, .compareAndWrite:
            for region in regions(request) {
                if bit(zero, region) { clear(zero, region) }
                if !bit(changed, region) { set(changed, region) }
            }
            if _slowPath(!zeroing.isEmpty) { spoil(request) }
        case .writeZeroes, .deallocate:
            for region in regions(request) where !bit(changed, region) { set(changed, region) }
        case .read, .flush, .compare, .verify: break
        }
    }

    /// A range is about to be zeroed.
    ///
    /// - Parameter isContended: data is on its way to it.
    func beginZeroing(_ request: BlockRequest, tag: UInt64, owner: ObjectIdentifier, isContended: Bool) {
        guard zeroing.count < Self.maximumZeroing else { return }
        zeroing.append(
            Zeroing(
                tag: tag, owner: owner, range: request.offset..<request.offset + request.length,
                isSpoiled: isContended))
    }

    /// Zeroing a range has ended.
    func endZeroing(tag: UInt64, owner: ObjectIdentifier, isDone: Bool) {
        guard let place = zeroing.firstIndex(where: { $0.tag == tag && $0.owner == owner }) else { return }
        let entry = zeroing.remove(at: place)
        guard isDone, !entry.isSpoiled else { return }
        let size: UInt64 = 1 << shift
        let first = Int((entry.range.lowerBound + size - 1) >> shift)
        let end = entry.range.upperBound >= byteCount ? regionCount : Int(entry.range.upperBound >> shift)
        guard first < end else { return }
        for region in first..<end { set(zero, region) }
    }

    private func spoil(_ request: BlockRequest) {
        let range = request.offset..<request.offset + request.length
        for place in zeroing.indices where zeroing[place].range.overlaps(range) { zeroing[place].isSpoiled = true }
    }

    @inline(__always)
    private func regions(_ request: BlockRequest) -> Range<Int> {
        let (end, overflow) = request.offset.addingReportingOverflow(request.length)
        guard request.length > 0, !overflow, end <= byteCount else { return 0..<0 }
        return Int(request.offset >> shift)..<Int((end - 1) >> shift) + 1
    }

    // MARK: Any thread

    /// Words that one question looks at: it is asked on a reactor.
    private static let longestLook = 4096

    /// The first bytes of a range of which the same is known.
    func extent(at offset: UInt64, length: UInt64) -> BlockExtent {
        guard length > 0, offset < byteCount else { return BlockExtent(length: length) }
        let first = Int(offset >> shift)
        let (isZero, isChanged) = (bit(zero, first), bit(changed, first))
        let end = min(regionCount, first + 64 * Self.longestLook)
        var region = first + 1
        while region < end, (UInt64(region) << shift) - offset < length {
            // Whole words at once, where they say the same throughout.
            if region % 64 == 0, region + 64 <= end, word(zero, region) == (isZero ? .max : 0),
                word(changed, region) == (isChanged ? .max : 0)
            {
                region += 64
                continue
            }
            guard bit(zero, region) == isZero, bit(changed, region) == isChanged else { break }
            region += 1
        }
        return BlockExtent(
            length: min(length, (UInt64(region) << shift) - offset), isZero: isZero, isHole: isZero,
            isChanged: isChanged)
    }

    @inline(__always)
    private func word(_ map: UnsafeMutablePointer<Atomic<UInt64>>, _ region: Int) -> UInt64 {
        map[region >> 6].load(ordering: .relaxed)
    }

    @inline(__always)
    private func bit(_ map: UnsafeMutablePointer<Atomic<UInt64>>, _ region: Int) -> Bool {
        word(map, region) >> UInt64(region & 63) & 1 == 1
    }

    @inline(__always)
    private func set(_ map: UnsafeMutablePointer<Atomic<UInt64>>, _ region: Int) {
        map[region >> 6].bitwiseOr(1 << UInt64(region & 63), ordering: .relaxed)
    }

    @inline(__always)
    private func clear(_ map: UnsafeMutablePointer<Atomic<UInt64>>, _ region: Int) {
        map[region >> 6].bitwiseAnd(~(1 << UInt64(region & 63)), ordering: .relaxed)
    }
}
