import Base

/// A fault of a member's metadata, or of the members together. Nothing has been written when one is thrown.
public enum MetadataError: Error, Equatable, Sendable, CustomStringConvertible {
    /// There is no superblock where one should be, only zeroes.
    case notFormatted(member: MemberIndex)
    /// Neither superblock slot is intact.
    case bothSlotsCorrupt(member: MemberIndex)
    /// The metadata was written by a newer release.
    case newerFormat(member: MemberIndex, found: UInt32, supported: UInt32)
    /// A slot's checksum is right and its contents are impossible.
    case invalidField(member: MemberIndex, field: String)
    /// A superblock claims more than the namespace that it is on has room for.
    case beyondNamespace(member: MemberIndex, field: String, value: UInt64, limit: UInt64)
    /// The member belongs to another volume.
    case wrongVolume(member: MemberIndex, found: UUIDBytes, expected: UUIDBytes)
    /// The member is one of this volume's, in another place.
    case wrongMember(member: MemberIndex, found: MemberIndex)
    /// The member was one of this volume's until another was put in its place.
    case replaced(member: MemberIndex)
    /// The same namespace was given twice.
    case sameNamespace(member: MemberIndex, other: MemberIndex)
    case wrongBlockSize(member: MemberIndex, found: UInt32, expected: UInt32)
    case differentSize(member: MemberIndex, found: UInt64, expected: UInt64)
    /// The member has fewer blocks than when its metadata was written.
    case shrunk(member: MemberIndex, found: UInt64, expected: UInt64)
    /// The member cannot hold the volume's data and its metadata.
    case tooSmall(member: MemberIndex, found: UInt64, needed: UInt64)
    /// A superblock of a volume is there already.
    case holdsVolume(member: MemberIndex, volume: UUIDBytes)
    /// The volume's parameters are impossible.
    case invalidGeometry(String)
    /// Two members' superblocks contradict each other.
    case contradiction(member: MemberIndex, other: MemberIndex, field: String)

    public var description: String {
        switch self {
        case .notFormatted(let member):
            "member \(member): no superblock at the end of the namespace; it is not a volume's member, or the namespace "
                + "was enlarged while nobody had the volume attached: say --old-size and the size that it had; else replace "
                + "the member"
        case .bothSlotsCorrupt(let member):
            "member \(member): both superblock slots are corrupt; attach without it and replace the member"
        case .newerFormat(let member, let found, let supported):
            "member \(member): metadata format \(found) is newer than \(supported), which this release knows; upgrade first"
        case .invalidField(let member, let field):
            "member \(member): the superblock's \(field) is impossible; attach without it and replace the member"
        case .beyondNamespace(let member, let field, let value, let limit):
            "member \(member): the superblock's \(field) is \(value), and the namespace has room for \(limit); attach without "
                + "it and replace the member"
        case .wrongVolume(let member, let found, let expected):
            "member \(member): belongs to volume \(found), not to \(expected); check the address and namespace given"
        case .wrongMember(let member, let found):
            "member \(member): is member \(found) of this volume; give the members in their order"
        case .replaced(let member):
            "member \(member): was replaced by another namespace, and holds old data; give that one's address"
        case .sameNamespace(let member, let other):
            "member \(member): has the same identity as member \(other): it is the same namespace, or their targets were started "
                + "alike and call different ones the same; give three namespaces of different identities"
        case .wrongBlockSize(let member, let found, let expected):
            "member \(member): has blocks of \(found) bytes where the volume has \(expected); format the namespace anew"
        case .differentSize(let member, let found, let expected):
            "member \(member): has \(found) blocks where member 0 has \(expected); name the volume's size to use part of it"
        case .shrunk(let member, let found, let expected):
            "member \(member): shrank from \(expected) to \(found) blocks; enlarge the namespace again, or replace the member"
        case .tooSmall(let member, let found, let needed):
            "member \(member): has \(found) blocks and needs \(needed); enlarge the namespace or choose a smaller volume"
        case .holdsVolume(let member, let volume):
            "member \(member): holds volume \(volume) already; destroy that volume first, or say that it may be overwritten"
        case .invalidGeometry(let what):
            "the volume's geometry is impossible: \(what)"
        case .contradiction(let member, let other, let field):
            "members \(member) and \(other): their superblocks disagree on the \(field); they were not written by one volume"
        }
    }
}
