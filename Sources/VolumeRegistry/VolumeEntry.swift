import Base
import JSON
import VolumeDriver

/// An entry of a registry: one volume.
///
/// The members' own records decide what a volume is; an entry tells where they are, and what programs want with the volume.
public struct VolumeEntry: Equatable, Sendable {
    /// The version of the form in which entries are written.
    public static let version = 1
    /// The longest entry in its text form, in bytes.
    public static let greatestTextSize = 64 << 10

    public enum State: String, Codable, CaseIterable, Sendable {
        /// Its creation has begun. There may be nothing, or a part, at the members.
        case creating
        case ready
        /// Its end has begun. There may still be something at the members.
        case deleting
    }

    public enum Fencing: String, Codable, CaseIterable, Sendable {
        case reservations, none
    }

    public struct Member: Equatable, Sendable {
        public var address: MemberAddress
        /// The namespace's identity; `nil` as long as it is not known.
        public var identity: UUIDBytes?
        /// The pool in which the namespace was made for this volume, and is deleted with it; `nil` for one that the operator gave. As
        /// long as it is being made, its NSID may be 0.
        public var pool: String?
        /// Fields of other releases, which are kept.
        var unknown: [String: JSONValue] = [:]

        public init(_ address: MemberAddress, identity: UUIDBytes? = nil, pool: String? = nil) {
            self.address = address
            self.identity = identity
            self.pool = pool
        }
    }

    /// 1 to 128 letters, digits, dots, hyphens and underscores; the first one is a letter or a digit.
    public var name: String
    public var uuid: UUIDBytes
    public var state: State
    /// In bytes; `nil` as long as it is not known.
    public var size: UInt64?
    /// Three, in order.
    public var members: [Member]
    /// The part of the volume that is tracked and copied as one, in bytes.
    public var regionSize: UInt32
    public var fencing: Fencing
    /// Copies that hold a write before it is acknowledged.
    public var minimumCopies: Int
    /// As what the volume is offered: `nbd`, `kernel-nbd`, `ublk`, `nvme`, or what later releases know.
    public var exports: [String] = []
    /// The mark of the volume's contents as it was last seen: `blank`, `being formatted` or `written`.
    public var contents: String?
    /// For people and programs: any names and values.
    public var labels: [String: String] = [:]
    /// The change of the volume that is under way, or was left half done; `nil` for none.
    public var operation: VolumeOperation?
    /// Former members, whose namespaces in pools are to be deleted once the volume has three copies without them.
    public var replaced: [Member] = []
    /// Fields of other releases, which are kept.
    var unknown: [String: JSONValue] = [:]

    public init(
        name: String, uuid: UUIDBytes, state: State, size: UInt64? = nil, members: [Member], regionSize: UInt32,
        fencing: Fencing = .reservations, minimumCopies: Int = 2
    ) {
        self.name = name
        self.uuid = uuid
        self.state = state
        self.size = size
        self.members = members
        self.regionSize = regionSize
        self.fencing = fencing
        self.minimumCopies = minimumCopies
    }

    /// Throws if the entry breaks a rule.
    public func validate() throws(RegistryError) {
        try Self.validate(name: name)
        func wrong(_ problem: String) -> RegistryError { RegistryError(.invalid, "volume \(name): \(problem)") }
        guard !uuid.isZero else { throw wrong("its UUID is zero") }
        guard members.count == 3 else { throw wrong("\(members.count) members; a volume has three") }
        guard members.allSatisfy({ $0.address.nsid > 0 || $0.pool != nil && state != .ready }) else {
            throw wrong("a member has the NSID 0; that is so only while a pool makes its namespace")
        }
        guard Set(members.map(\.address)).count == members.count else { throw wrong("two of its members are the same") }
        guard regionSize >= 512, regionSize & (regionSize - 1) == 0 else {
            throw wrong("region size \(regionSize); allowed: a power of two from 512")
        }
        guard (1...3).contains(minimumCopies) else {
            throw wrong("minimum of copies \(minimumCopies); allowed: 1 to 3")
        }
        guard size != 0 else { throw wrong("its size is 0") }
        guard replaced.allSatisfy({ $0.pool != nil && $0.identity != nil }) else {
            throw wrong("a former member has no pool, or no identity")
        }
        let present = Set(members.compactMap(\.identity))
        guard replaced.allSatisfy({ !present.contains($0.identity ?? UUIDBytes()) }) else {
            throw wrong("a member is a former one, too")
        }
    }

    /// Puts a namespace in a member's place. The former one is to be deleted, if it was made for the volume.
    public mutating func replace(_ place: Int, with address: MemberAddress, _ identity: UUIDBytes) {
        let former = members[place]
        members[place].address = address
        guard former.identity != identity else { return }
        if former.pool != nil, former.identity != nil { replaced.append(former) }
        members[place].identity = identity
        // One that was in the volume before is needed again.
        members[place].pool = replaced.first { $0.identity == identity }?.pool
        replaced.removeAll { $0.identity == identity }
    }

    /// Throws if a volume cannot have this name.
    public static func validate(name: String) throws(RegistryError) {
        func isAlphanumeric(_ byte: UInt8) -> Bool {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "A")...UInt8(ascii: "Z"):
                true
            default: false
            }
        }
        let isValid =
            (1...128).contains(name.utf8.count) && name.utf8.first.map(isAlphanumeric) == true
            && name.utf8.allSatisfy { isAlphanumeric($0) || ".-_".utf8.contains($0) }
        guard isValid else {
            throw RegistryError(
                .invalid,
                "\(printable(name)): is no name of a volume; allowed: 1 to 128 letters, digits, dots, hyphens and underscores, "
                    + "beginning with a letter or a digit")
        }
    }

    /// A text from elsewhere as it may be shown: short, and without control characters.
    static func printable(_ text: String) -> String {
        let shown = text.unicodeScalars.prefix(64).map { scalar in
            scalar.properties.generalCategory == .control ? "?" : String(scalar)
        }
        return "'\(shown.joined())\(text.unicodeScalars.count > 64 ? "..." : "")'"
    }
}
