import Base

/// The record of who is in sync, as it is wanted on the members, and of what else they have to agree on.
struct Record: ~Copyable {
    /// Raised at each change.
    private(set) var version: UInt64 = 0
    /// The wanted record is durable on at least two members, among them all that are active and in sync.
    private(set) var isValid = false
    private(set) var minimumCopies = 2
    var fencing = FencingMode.reservations
    private(set) var isClean = false
    /// Told by a detach: nothing is written to the members any more.
    private(set) var grace: FencingGrace?
    /// The boot instance of each member's target since which it holds all that it acknowledged.
    private var bootInstances = PerMember<UInt64>(repeating: 0)
    private var behindSince = PerMember<UInt64>(repeating: 0)
    /// This attachment's reservation key, whose high half is the epoch; 0 before it is chosen.
    private(set) var attachmentKey: UInt64 = 0
    /// The key of the attachment whose record this one was taken over from.
    private(set) var predecessorKey: UInt64 = 0
    /// That one had detached the volume clean.
    private(set) var predecessorWasClean = false
    private(set) var uuids = PerMember(repeating: UUIDBytes())
    /// Namespaces that were put in members' places by this attachment.
    private var replacements = PerMember<UUIDBytes?>(repeating: nil)
    /// Members that were replaced and hold nothing yet.
    var fresh: MemberSet
    /// The size that each member had when its metadata was last known to be at its end; 0 where not known.
    var formattedBlocks: PerMember<UInt64>
    /// Regions that the record names as quarantined, ascending.
    private(set) var quarantined: [RegionIndex] = []
    /// The mark of the volume's contents, as it is wanted; and as it is durable.
    private(set) var contents = VolumeContents.blank
    private(set) var durableContents = VolumeContents.blank

    init(_ configuration: VolumeConfiguration) {
        fresh = configuration.fresh
        formattedBlocks = PerMember { configuration.formattedBlocks[$0] }
    }

    var epoch: UInt64 { attachmentKey >> 32 }

    mutating func choose(key: UInt64) { attachmentKey = key }

    /// The record has to change: nothing that relies on the change is acknowledged until it is valid (invariant 2).
    mutating func change(inSync: MemberSet) {
        version += 1
        isValid = false
        for member in MemberSet.all {
            if inSync.contains(member) {
                behindSince[member] = 0
            } else if behindSince[member] == 0 {
                behindSince[member] = epoch
            }
        }
    }

    /// True where the mark of the contents has become durable with it.
    mutating func becomeValid() -> Bool {
        isValid = true
        defer { durableContents = contents }
        return durableContents != contents
    }

    /// The contents only become greater, so that no mark is taken back that somebody has relied on.
    mutating func mark(_ contents: VolumeContents) { self.contents = max(self.contents, contents) }

    mutating func distrust() { isValid = false }
    mutating func letGo(isClean: Bool, grace: FencingGrace) {
        self.isClean = isClean
        self.grace = grace
    }

    /// A member has come into sync: it holds all that it acknowledges from this run of its target on.
    mutating func tookIntoSync(_ member: MemberIndex, bootInstance: UInt64) {
        fresh.remove(member)
        bootInstances[member] = bootInstance
    }

    /// Another namespace is in a member's place.
    mutating func replace(_ member: MemberIndex, by uuid: UUIDBytes) {
        uuids[member] = uuid
        replacements[member] = uuid
        fresh.insert(member)
    }

    func wasReplaced(_ member: MemberIndex) -> Bool { replacements[member] != nil }

    /// Whether a member was the volume's until another took its place: its record, and so its data, is of before.
    func isReplaced(_ member: MemberIndex, _ found: Superblock?, by uuid: UUIDBytes) -> Bool {
        guard let found, !fresh.contains(member) else { return false }
        return found.members[member].uuid != uuid
    }

    /// Takes over the record that was decided for.
    mutating func adopt(_ best: Superblock, inSync: MemberSet, bootInstances found: PerMember<UInt64>) {
        fencing = best.fencing
        minimumCopies = best.minimumCopies
        isClean = false
        grace = nil
        if best.stamp.attachmentKey == attachmentKey {
            version = max(version, best.stamp.version)
        } else {
            predecessorKey = best.stamp.attachmentKey
            predecessorWasClean = best.isClean
        }
        for member in MemberSet.all {
            uuids[member] = replacements[member] ?? best.members[member].uuid
            behindSince[member] = best.members[member].behindSinceEpoch
            bootInstances[member] = inSync.contains(member) ? found[member] : best.members[member].bootInstance
        }
    }

    /// A member's superblock, with the given sizes of the members.
    func superblock(
        for member: MemberIndex, sequence: UInt64, volume: UUIDBytes, geometry: VolumeGeometry, inSync: MemberSet,
        blocks: PerMember<UInt64>
    ) -> Superblock {
        Superblock(
            sequence: sequence, volume: volume, member: member, geometry: geometry, fencing: fencing,
            minimumCopies: minimumCopies, isClean: isClean, grace: grace,
            stamp: RecordStamp(attachmentKey: attachmentKey, version: version),
            members: MemberSet.all.map {
                MemberRecord(
                    uuid: uuids[$0], blocks: blocks[$0], bootInstance: bootInstances[$0],
                    state: inSync.contains($0) ? .inSync : .behind, behindSinceEpoch: behindSince[$0])
            }, quarantine: quarantined, contents: contents)
    }

    // MARK: Quarantine

    /// Brings the list of quarantined regions up to date: a region leaves it when its repair has been flushed.
    mutating func reviewQuarantine(_ maps: borrowing RegionMaps) {
        var kept: [RegionIndex] = []
        for region in quarantined where maps.quarantine[region] || maps.isUnderRepair(region) { kept.append(region) }
        quarantined = kept
        guard !maps.quarantine.isEmpty else { return }
        var all = Set(quarantined)
        for word in 0..<maps.quarantine.wordCount {
            var bits = maps.quarantine.word(word)
            while bits != 0, all.count < maps.geometry.quarantineCapacity {
                all.insert(RegionBits.index(word: word, bit: bits.trailingZeroBitCount))
                bits &= bits - 1
            }
        }
        quarantined = all.sorted()
    }

    /// Whether a region is named that has been repaired.
    func namesRepaired(_ maps: borrowing RegionMaps) -> Bool {
        for region in quarantined where !maps.quarantine[region] && !maps.isUnderRepair(region) { return true }
        return false
    }

    /// Takes over what records say: what was being repaired when they were written may not have been.
    mutating func adoptQuarantine(_ regions: Set<RegionIndex>, _ maps: inout RegionMaps) {
        let (count, capacity) = (maps.regionCount, maps.geometry.quarantineCapacity)
        quarantined = Set(quarantined).union(regions).filter { $0.offset < count }.sorted().prefix(capacity).map { $0 }
        for region in quarantined { maps.setQuarantine(region, true) }
    }

    /// Whether the record has room for a region that it does not name.
    func canName(_ region: RegionIndex, of geometry: VolumeGeometry) -> Bool {
        !quarantined.contains(region) && quarantined.count < geometry.quarantineCapacity
    }
}
