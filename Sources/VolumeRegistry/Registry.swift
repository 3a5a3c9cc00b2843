/// A list of volumes by name, which programs share: each entry with the revision of its last change. The pools that volumes are made
/// of are beside it.
///
/// A registry tells where volumes are. It never decides who may write: the fencing at the members does, whatever a registry
/// says. Every implementation keeps the same laws, which one suite checks.
public protocol Registry: VolumeOwners, PoolRecords {
    /// All entries, by name in the order of its bytes, as they were at one moment.
    func list() async throws(RegistryError) -> RegistryListing

    /// The entry of a name; `nil` if there is none. Throws `unknownVersion` or `damaged` if it cannot be read.
    func get(_ name: String) async throws(RegistryError) -> RegisteredVolume?

    /// Writes an entry, if the present one has the expected revision. When this returns, the change is durable.
    ///
    /// - Parameter expected: the revision of the entry that is replaced; `nil` if there is to be none of this name.
    /// - Returns: the revision of the change, higher than any before.
    /// - Throws: `conflict` if the present entry is another one, `invalid` if the entry breaks a rule; nothing has changed then.
    func put(_ entry: VolumeEntry, expecting expected: Revision?) async throws(RegistryError) -> Revision

    /// Removes an entry, if it has the expected revision. Returns the revision of the change.
    func delete(_ name: String, expecting expected: Revision) async throws(RegistryError) -> Revision

    /// The changes after a revision, in their order, as soon as there is one; empty if the task is cancelled first.
    ///
    /// A caller that asks again with the revision of the last one misses none and hears of none twice.
    /// - Throws: `compacted` if the registry does not know them all any more: list again, and go on from there.
    func changes(after revision: Revision) async throws(RegistryError) -> [RegistryChange]
}

/// The number of a change of a registry. Each change has a higher one than the last; there are no others.
public struct Revision: Comparable, Hashable, Sendable, CustomStringConvertible {
    public var number: Int64

    public init(_ number: Int64) { self.number = number }

    public static func < (left: Revision, right: Revision) -> Bool { left.number < right.number }

    public var description: String { String(number) }
}

/// An entry as a registry holds it.
public struct RegisteredVolume: Equatable, Sendable {
    public var entry: VolumeEntry
    /// The revision of the entry's last change.
    public var revision: Revision

    public init(_ entry: VolumeEntry, _ revision: Revision) {
        self.entry = entry
        self.revision = revision
    }
}

/// A registry's entries at one moment.
public struct RegistryListing: Sendable {
    /// The revision of the registry's last change.
    public var revision: Revision
    public var volumes: [RegisteredVolume]
    /// Entries that cannot be read. They are never overwritten; they can be removed by their revision.
    public var unreadable: [UnreadableEntry] = []

    public init(revision: Revision, volumes: [RegisteredVolume] = []) {
        self.revision = revision
        self.volumes = volumes
    }

    /// Appends an entry as it is stored.
    public mutating func append(name: String, revision: Revision, text: [UInt8]) {
        do throws(RegistryError) {
            volumes.append(RegisteredVolume(try VolumeEntry(text: text, name: name), revision))
        } catch {
            unreadable.append(UnreadableEntry(name: name, revision: revision, error: error))
        }
    }
}

/// An entry that is damaged, or was written by a newer release.
public struct UnreadableEntry: Equatable, Sendable {
    public var name: String
    public var revision: Revision
    public var error: RegistryError
}

/// One change of a registry.
public struct RegistryChange: Equatable, Sendable {
    public enum Kind: Equatable, Sendable {
        case put(VolumeEntry)
        case deleted
        /// An entry was written that cannot be read.
        case unreadable(RegistryError)
    }

    public var revision: Revision
    public var name: String
    public var kind: Kind

    public init(revision: Revision, name: String, kind: Kind) {
        self.revision = revision
        self.name = name
        self.kind = kind
    }
}

/// Why a registry could not do as it was asked. Nothing has changed then, unless the code says otherwise.
public struct RegistryError: Error, Equatable, CustomStringConvertible, Sendable {
    public enum Code: Equatable, Sendable {
        /// The present entry is not the expected one: its revision, or `nil` if there is none. Read it, and decide again.
        case conflict(present: Revision?)
        /// Changes after the given revision are not known any more. List again.
        case compacted
        /// An entry, or a registry, was written by a newer release.
        case unknownVersion
        /// A name or an entry breaks a rule.
        case invalid
        /// There is no registry there.
        case notFound
        /// The file is no registry, or holds something else than was written.
        case damaged
        /// Another program has it. It may be free later.
        case inUse
        /// The process has no right to it.
        case notPermitted
        /// The registry does not answer. It may later; it is not known whether the change was made.
        case unavailable
        /// The lease has ended, or was never there.
        case leaseLost
        /// The system failed. It is not known whether the change was made.
        case failed
    }

    public var code: Code
    /// One line: what is wrong, with what, and what to do about it.
    public var message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }

    /// The present entry of a name is not the expected one.
    public static func conflict(_ name: String, present: Revision?, expected: Revision?) -> RegistryError {
        let problem =
            switch (present, expected) {
            case (nil, _): "there is no such volume in the registry any more"
            case (_, nil): "there is a volume of this name in the registry already"
            default: "another program has changed its entry in the registry meanwhile; look at it, and try again"
            }
        return RegistryError(.conflict(present: present), "volume \(name): \(problem)")
    }

    /// Not all changes after a revision are known any more.
    public static func compacted(after revision: Revision) -> RegistryError {
        RegistryError(.compacted, "the registry does not know the changes after \(revision) any more: list it again")
    }
}
