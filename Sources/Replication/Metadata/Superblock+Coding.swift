import Base
import CChecksum

extension Superblock {
    /// Bytes that are used of a slot in any case, which is one metadata page; the rest is zero.
    ///
    /// | bytes | what |
    /// |---|---|
    /// | 0-7 | "TERCETSB" |
    /// | 8-11, 12-15 | format; CRC32C of the page with this field zero |
    /// | 16-23, 24-39 | sequence; volume UUID |
    /// | 40, 41, 42, 43 | member; fencing; minimum copies; flags (bit 0: clean; bit 1: detached; bits 2 and 3: contents) |
    /// | 44-47, 48-51, 56-63 | block size; region size; data blocks |
    /// | 52-55, 80-87, 284-287 | once detached: what is left of the grace, in milliseconds; the clock; its end in seconds |
    /// | 64-71, 72-79 | attachment key; version |
    /// | 88-279 | three members of 64 bytes: UUID, blocks, boot instance, behind since, state (1) at 40 |
    /// | 280-283, 288- | how many regions are quarantined; their numbers, of 4 bytes, ascending |
    static let fixedSize = 288
    private static let magic: UInt64 = 0x4253_5445_4352_4554

    /// Encodes the superblock as one page.
    public func encode(into page: UnsafeMutableRawBufferPointer) {
        invariant(page.count == geometry.pageSize, "a superblock slot is one page")
        page.initializeMemory(as: UInt8.self, repeating: 0)
        func store<Value: FixedWidthInteger & BitwiseCopyable>(_ value: Value, _ offset: Int) {
            page.storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
        }
        func store(_ uuid: UUIDBytes, _ offset: Int) {
            page.storeBytes(of: uuid.high.bigEndian, toByteOffset: offset, as: UInt64.self)
            page.storeBytes(of: uuid.low.bigEndian, toByteOffset: offset + 8, as: UInt64.self)
        }
        store(Self.magic, 0)
        store(Self.currentFormat, 8)
        store(sequence, 16)
        store(volume, 24)
        store(member.place, 40)
        store(fencing.rawValue, 41)
        store(UInt8(minimumCopies), 42)
        store(UInt8(isClean ? 1 : 0) | UInt8(grace == nil ? 0 : 2) | contents.rawValue << 2, 43)
        store(grace?.milliseconds ?? 0, 52)
        store(grace?.clock ?? 0, 80)
        store(grace?.endSeconds ?? 0, 284)
        store(geometry.blockSize, 44)
        store(geometry.regionSize, 48)
        store(geometry.dataBlocks, 56)
        store(stamp.attachmentKey, 64)
        store(stamp.version, 72)
        for (index, record) in members.enumerated() {
            let base = 88 + 64 * index
            store(record.uuid, base)
            store(record.blocks, base + 16)
            store(record.bootInstance, base + 24)
            store(record.behindSinceEpoch, base + 32)
            store(record.state.rawValue, base + 40)
        }
        invariant(
            quarantine.count <= geometry.quarantineCapacity, "a superblock names as many regions as it has room for")
        store(UInt32(quarantine.count), 280)
        for (index, region) in quarantine.enumerated() {
            store(region.position, Self.fixedSize + 4 * index)
        }
        Self.sum(page)
    }

    /// Gives a slot the checksum of what it holds.
    static func sum(_ page: UnsafeMutableRawBufferPointer) {
        page.storeBytes(of: 0, toByteOffset: 12, as: UInt32.self)
        page.storeBytes(of: tercet_crc32c(page.baseAddress, page.count).littleEndian, toByteOffset: 12, as: UInt32.self)
    }

    /// The contents of one slot.
    private enum Slot {
        case empty, corrupt
        case newer(UInt32)
        case invalid(String)
        case valid(Superblock)
    }

    private static func decodeSlot(_ bytes: UnsafeRawBufferPointer) -> Slot {
        guard bytes.count >= fixedSize else { return .corrupt }
        func load<Value: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, _: Value.Type) -> Value {
            Value(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Value.self))
        }
        func uuid(_ offset: Int) -> UUIDBytes {
            UUIDBytes(high: load(offset, UInt64.self).byteSwapped, low: load(offset + 8, UInt64.self).byteSwapped)
        }
        if load(0, UInt64.self) != magic { return bytes.allSatisfy { $0 == 0 } ? .empty : .corrupt }
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 16)
        defer { copy.deallocate() }
        copy.copyMemory(from: bytes)
        copy.storeBytes(of: 0, toByteOffset: 12, as: UInt32.self)
        guard tercet_crc32c(copy.baseAddress, copy.count) == load(12, UInt32.self) else { return .corrupt }
        let format = load(8, UInt32.self)
        guard format <= currentFormat else { return .newer(format) }
        guard let fencing = FencingMode(rawValue: load(41, UInt8.self)) else { return .invalid("fencing mode") }
        guard load(40, UInt8.self) < memberCount else { return .invalid("member index") }
        guard (1...UInt8(memberCount)).contains(load(42, UInt8.self)) else { return .invalid("minimum of copies") }
        let (blockSize, regionSize) = (load(44, UInt32.self), load(48, UInt32.self))
        let dataBlocks = load(56, UInt64.self)
        if let problem = VolumeGeometry.problem(blockSize: blockSize, regionSize: regionSize, dataBlocks: dataBlocks) {
            return .invalid("geometry (\(problem))")
        }
        guard
            let geometry = try? VolumeGeometry(blockSize: blockSize, regionSize: regionSize, dataBlocks: dataBlocks),
            geometry.pageSize == bytes.count
        else { return .invalid("block size, \(blockSize), in a page of \(bytes.count) bytes,") }
        guard let contents = VolumeContents(rawValue: load(43, UInt8.self) >> 2 & 3) else {
            return .invalid("contents")
        }
        var members: [MemberRecord] = []
        for base in stride(from: 88, to: 88 + 64 * memberCount, by: 64) {
            guard let state = MemberDataState(rawValue: load(base + 40, UInt8.self)) else {
                return .invalid("member state")
            }
            members.append(
                MemberRecord(
                    uuid: uuid(base), blocks: load(base + 16, UInt64.self), bootInstance: load(base + 24, UInt64.self),
                    state: state, behindSinceEpoch: load(base + 32, UInt64.self)))
        }
        let quarantineCount = Int(load(280, UInt32.self))
        guard quarantineCount <= geometry.quarantineCapacity else { return .invalid("number of quarantined regions") }
        let quarantine = (0..<quarantineCount).map { RegionIndex(position: load(fixedSize + 4 * $0, UInt32.self)) }
        guard quarantine.allSatisfy({ $0.offset < geometry.regionCount }) else {
            return .invalid("list of quarantined regions")
        }
        let flags = load(43, UInt8.self)
        let grace = FencingGrace(
            milliseconds: load(52, UInt32.self), clock: load(80, UInt64.self), endSeconds: load(284, UInt32.self))
        let superblock = Superblock(
            sequence: load(16, UInt64.self), volume: uuid(24), member: MemberIndex(place: load(40, UInt8.self)),
            geometry: geometry,
            fencing: fencing, minimumCopies: Int(load(42, UInt8.self)), isClean: flags & 1 == 1,
            grace: flags & 2 == 2 ? grace : nil,
            stamp: RecordStamp(attachmentKey: load(64, UInt64.self), version: load(72, UInt64.self)), members: members,
            quarantine: quarantine, contents: contents)
        guard superblock.inSync != [] else { return .invalid("set of members in sync, which is empty,") }
        // Both are counted up; nobody counts so far.
        guard superblock.sequence < 1 << 63 else { return .invalid("sequence") }
        guard superblock.stamp.version < 1 << 63 else { return .invalid("version") }
        return .valid(superblock)
    }

    /// Reads a member's two slots, each one page, and returns the newer of those that are intact: a slot torn by a crash
    /// leaves the other.
    public static func decode(
        member: MemberIndex, slot0: UnsafeRawBufferPointer, slot1: UnsafeRawBufferPointer
    ) throws(MetadataError) -> Superblock {
        try read(member: member, slot0: slot0, slot1: slot1).superblock
    }

    /// As `decode`; and tells which slot is damaged: one that holds no intact record, where one has been written. So is one that
    /// holds a record whose place is the other: a drive read or wrote the wrong block.
    ///
    /// - Parameter blocks: the size of the namespace at whose end the slots are; `nil` where that is not known. A copy of a
    ///   record that is kept elsewhere is always in slot 0.
    public static func read(
        member: MemberIndex, slot0: UnsafeRawBufferPointer, slot1: UnsafeRawBufferPointer, endOf blocks: UInt64? = nil
    ) throws(MetadataError) -> (superblock: Superblock, damagedSlot: Int?) {
        var best: Superblock?
        var isEmpty = true
        var problem: String?
        var damaged: Int?
        for (number, slot) in [decodeSlot(slot0), decodeSlot(slot1)].enumerated() {
            switch slot {
            // A volume's first record has nothing beside it, nor has the first one at a new end.
            case .empty: continue
            case .corrupt: damaged = number
            case .newer(let found):
                throw .newerFormat(member: member, found: found, supported: currentFormat)
            case .invalid(let field):
                damaged = number
                problem = field
            case .valid(let found):
                let isKeptHere = found.members[found.member].blocks == blocks
                if isKeptHere, found.sequence & 1 != UInt64(number) { damaged = number }
                if best == nil || found.sequence > best!.sequence { best = found }
            }
            isEmpty = false
        }
        if let best { return (best, damaged) }
        if let problem { throw .invalidField(member: member, field: problem) }
        throw isEmpty ? .notFormatted(member: member) : .bothSlotsCorrupt(member: member)
    }

    /// Checks that this superblock, read from what was attached as `index`, belongs there.
    public func validate(
        as index: MemberIndex, volume expected: UUIDBytes, blockSize: UInt32, memberBlocks: UInt64
    ) throws(MetadataError) {
        guard volume == expected else { throw .wrongVolume(member: index, found: volume, expected: expected) }
        guard member == index else { throw .wrongMember(member: index, found: member) }
        try validateSizes(as: index, blockSize: blockSize, memberBlocks: memberBlocks)
    }

    /// Checks what this superblock says of sizes against the namespace that it was read from, which is called `index` in
    /// what is thrown. Nothing is allocated by a superblock's sizes before.
    public func validateSizes(
        as index: MemberIndex, blockSize: UInt32, memberBlocks: UInt64
    ) throws(MetadataError) {
        guard geometry.blockSize == blockSize else {
            throw .wrongBlockSize(member: index, found: blockSize, expected: geometry.blockSize)
        }
        let blocks = members[member].blocks
        guard memberBlocks >= blocks else { throw .shrunk(member: index, found: memberBlocks, expected: blocks) }
        guard (try? MemberLayout(member: index, memberBlocks: blocks, geometry: geometry)) != nil else {
            let largest = MemberLayout.largestVolume(
                memberBlocks: blocks, blockSize: blockSize, regionSize: geometry.regionSize)
            throw .beyondNamespace(
                member: index, field: "number of data blocks", value: geometry.dataBlocks, limit: largest ?? 0)
        }
    }
}
