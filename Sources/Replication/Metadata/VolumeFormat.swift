import Base

/// A namespace that is to become a member.
public struct MemberCandidate: Equatable, Sendable {
    /// Identifies the namespace: its NGUID or UUID as the target reports it.
    public var uuid: UUIDBytes
    public var blockSize: UInt32
    public var blocks: UInt64
    /// The volume whose superblock was found on it, if one was.
    public var heldVolume: UUIDBytes?

    public init(uuid: UUIDBytes, blockSize: UInt32, blocks: UInt64, heldVolume: UUIDBytes? = nil) {
        self.uuid = uuid
        self.blockSize = blockSize
        self.blocks = blocks
        self.heldVolume = heldVolume
    }
}

/// Makes the metadata of a new volume. The three members' data must be equal before it is written: the caller has
/// written zeroes to all of them, or `initialCopy` is set and the first attach copies everything from one.
public struct VolumeFormat: Sendable {
    public let volume: UUIDBytes
    public let geometry: VolumeGeometry
    public let layouts: [MemberLayout]
    let candidates: [MemberCandidate]
    let fencing: FencingMode
    let minimumCopies: Int
    let initialCopy: Bool
    let contents: VolumeContents

    /// Checks the members and computes the layout.
    ///
    /// `dataBlocks` is the volume's size; without it the members must be of one size and all of it is used. `contents` is of no
    /// effect with `initialCopy`: what the members hold is somebody's then.
    public init(
        volume: UUIDBytes, members: [MemberCandidate], regionSize: UInt32 = VolumeGeometry.defaultRegionSize,
        dataBlocks: UInt64? = nil, fencing: FencingMode = .reservations, minimumCopies: Int = 2,
        initialCopy: Bool = false, overwrite: Bool = false, contents: VolumeContents = .blank
    ) throws(MetadataError) {
        guard members.count == memberCount else { throw .invalidGeometry("\(members.count) members; a volume has 3") }
        guard (1...memberCount).contains(minimumCopies) else {
            throw .invalidGeometry("a minimum of \(minimumCopies) copies; it is 1, 2 or 3")
        }
        for index in members.indices {
            for other in 0..<index where members[other].uuid == members[index].uuid {
                throw .sameNamespace(member: MemberIndex(index), other: MemberIndex(other))
            }
            guard members[index].blockSize == members[0].blockSize else {
                throw .wrongBlockSize(
                    member: MemberIndex(index), found: members[index].blockSize, expected: members[0].blockSize)
            }
            if dataBlocks == nil, members[index].blocks != members[0].blocks {
                throw .differentSize(
                    member: MemberIndex(index), found: members[index].blocks, expected: members[0].blocks)
            }
            if !overwrite, let held = members[index].heldVolume {
                throw .holdsVolume(member: MemberIndex(index), volume: held)
            }
        }
        let blockSize = members[0].blockSize
        let wanted = max(1, dataBlocks ?? members[0].blocks)
        if let problem = VolumeGeometry.problem(blockSize: blockSize, regionSize: regionSize, dataBlocks: wanted) {
            throw .invalidGeometry(problem)
        }
        let largest = MemberLayout.largestVolume(
            memberBlocks: members[0].blocks, blockSize: blockSize, regionSize: regionSize)
        guard let size = dataBlocks ?? largest else {
            throw .tooSmall(member: 0, found: members[0].blocks, needed: 6 * UInt64(max(4096, blockSize) / blockSize))
        }
        let geometry = try VolumeGeometry(blockSize: blockSize, regionSize: regionSize, dataBlocks: size)
        var layouts: [MemberLayout] = []
        for member in MemberSet.all {
            layouts.append(try MemberLayout(member: member, memberBlocks: members[member].blocks, geometry: geometry))
        }
        self.layouts = layouts
        candidates = members
        self.volume = volume
        self.geometry = geometry
        self.fencing = fencing
        self.minimumCopies = minimumCopies
        self.initialCopy = initialCopy
        self.contents = initialCopy ? .written : contents
    }

    /// Pages to write on `member`, in order: the bitmaps, then the slots. All are to be durable on it at the end.
    public var pageCount: Int { MemberLayout.slotCount + MemberLayout.mapCount * geometry.pagesPerMap }

    /// Fills in page `number` of `pageCount` for `member` and returns its first block on it.
    public func encode(page number: Int, member: MemberIndex, into page: UnsafeMutableRawBufferPointer) -> UInt64 {
        page.initializeMemory(as: UInt8.self, repeating: 0)
        let maps = MemberLayout.mapCount * geometry.pagesPerMap
        if number < maps {
            let (ordinal, index) = number.quotientAndRemainder(dividingBy: geometry.pagesPerMap)
            if initialCopy, ordinal == BitmapPage.inFlightOrdinal {
                for bit in 0..<min(geometry.bitsPerPage, geometry.regionCount - index * geometry.bitsPerPage) {
                    page[BitmapPage.headerSize + bit / 8] |= 1 << UInt8(bit % 8)
                }
            }
            let kind = BitmapPage.kind(ordinal: ordinal, on: member)
            BitmapPage.seal(page, volume: volume, sequence: 0, kind: kind, number: index)
            return layouts[member].pageBlock(ordinal: ordinal, page: index)
        }
        if number == maps + 1 {
            let records = candidates.map { MemberRecord(uuid: $0.uuid, blocks: $0.blocks) }
            Superblock(
                sequence: 1, volume: volume, member: member, geometry: geometry, fencing: fencing,
                minimumCopies: minimumCopies, isClean: !initialCopy,
                stamp: RecordStamp(attachmentKey: 0, version: 0), members: records,
                contents: contents
            ).encode(into: page)
        }
        return layouts[member].slotBlock(number - maps)
    }
}
