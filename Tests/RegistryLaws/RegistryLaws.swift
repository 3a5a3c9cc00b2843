import Base
import VolumeDriver
import VolumeRegistry

/// Checks what every registry promises, whatever keeps it, and returns what does not hold, a line each.
///
/// - Parameters:
///   - registry: empty.
///   - other: another client of the same registry.
///   - keptChanges: changes that the registry knows; at most 64.
///   - write: puts any text in the place of an entry, as another release or a mistake might.
///   - compact: makes the registry forget the changes before a revision, where it does not do that by itself.
///   - seed: of the random part.
public func checkRegistryLaws(
    _ registry: any Registry, other: any Registry, keptChanges: Int,
    write: @escaping (_ text: String, _ name: String) async -> Void,
    compact: @escaping (_ oldest: Revision) async -> Void = { _ in }, seed: UInt64
) async -> [String] {
    let laws = RegistryLaws(registry: registry, other: other, keptChanges: keptChanges, write: write, compact: compact)
    do throws(RegistryError) {
        try await laws.checkEmpty()
        try await laws.checkCompareAndSet()
        try await laws.checkDelete()
        try await laws.checkOrder()
        try await laws.checkNames()
        try await laws.checkUnknownFields()
        try await laws.checkOtherReleases()
        try await laws.checkChanges()
        try await laws.checkWaiting()
        try await laws.checkCompaction()
        try await laws.checkOwners()
        try await laws.checkContention()
        try await laws.checkPools()
        try await laws.checkRandomOperations(seed: seed)
    } catch {
        laws.violations.append("a call that has to succeed failed: \(error)")
    }
    return laws.violations
}

final class RegistryLaws {
    let registry: any Registry
    let other: any Registry
    let keptChanges: Int
    let write: (String, String) async -> Void
    let compact: (Revision) async -> Void
    var violations: [String] = []

    init(
        registry: any Registry, other: any Registry, keptChanges: Int,
        write: @escaping (String, String) async -> Void, compact: @escaping (Revision) async -> Void
    ) {
        self.registry = registry
        self.other = other
        self.keptChanges = keptChanges
        self.write = write
        self.compact = compact
    }

    func law(_ holds: Bool, _ words: @autoclosure () -> String) {
        if !holds { violations.append(words()) }
    }

    /// Whether `body` fails in the way that `isExpected` accepts.
    func fails<Result>(
        _ isExpected: (RegistryError.Code) -> Bool, _ body: () async throws(RegistryError) -> Result
    ) async -> Bool {
        do throws(RegistryError) {
            _ = try await body()
            return false
        } catch {
            if !isExpected(error.code) { violations.append("another error was expected: \(error)") }
            return isExpected(error.code)
        }
    }

    /// Whether `body` is refused because the present entry has another revision than the expected one.
    func conflicts<Result>(
        present: Revision?, _ body: () async throws(RegistryError) -> Result
    ) async -> Bool { await fails({ $0 == .conflict(present: present) }, body) }

    static func entry(_ name: String, label: String? = nil, state: VolumeEntry.State = .ready) -> VolumeEntry {
        let members = (1...3).compactMap { MemberAddress("192.0.2.\($0):4420/nqn.2026-11.io.example:a/x/7") }
        var entry = VolumeEntry(
            name: name, uuid: UUIDBytes(high: 0x1234_5678_9ABC_4EF0, low: 0x8123_4567_89AB_CDEF), state: state,
            size: 1 << 30, members: members.map { VolumeEntry.Member($0) }, regionSize: 1 << 20)
        if let label { entry.labels["tier"] = label }
        return entry
    }

    func checkEmpty() async throws(RegistryError) {
        let listing = try await registry.list()
        law(listing.volumes.isEmpty && listing.unreadable.isEmpty, "the registry under test is empty")
        law(try await registry.get("none") == nil, "there is no entry of a name that was never written")
        law(
            await conflicts(present: nil) { () async throws(RegistryError) in
                try await registry.delete("none", expecting: listing.revision)
            }, "what is not there cannot be removed")
        law(
            await conflicts(present: nil) { () async throws(RegistryError) in
                try await registry.put(Self.entry("none"), expecting: Revision(listing.revision.number + 1))
            }, "what is not there cannot be replaced")
        law(try await registry.list().revision == listing.revision, "what was refused has changed nothing")
    }

    func checkCompareAndSet() async throws(RegistryError) {
        let before = try await registry.list().revision
        let first = try await registry.put(Self.entry("a", label: "1"), expecting: nil)
        law(first > before, "a change has a higher revision than what was before")
        law(
            try await other.get("a") == RegisteredVolume(Self.entry("a", label: "1"), first),
            "others read what was written")
        law(
            await conflicts(present: first) { () async throws(RegistryError) in
                try await other.put(Self.entry("a", label: "2"), expecting: nil)
            }, "an entry is not made twice")
        let second = try await other.put(Self.entry("a", label: "2"), expecting: first)
        law(second > first, "each change has a higher revision")
        for stale in [first, before, Revision(second.number + 1)] {
            law(
                await conflicts(present: second) { () async throws(RegistryError) in
                    try await registry.put(Self.entry("a", label: "3"), expecting: stale)
                }, "an entry is replaced only with the revision that it has")
        }
        law(
            try await registry.get("a") == RegisteredVolume(Self.entry("a", label: "2"), second),
            "the last writer's is there")
        var whole = Self.entry("a")
        whole.size = nil
        whole.members[1].identity = .random()
        whole.fencing = .none
        whole.minimumCopies = 3
        whole.exports = ["nbd", "nvme"]
        whole.contents = "being formatted"
        whole.labels = ["": "", "ключ": "\u{1F4BE} \"\\\n\0"]
        whole.operation = VolumeOperation(.replace, member: 2, address: whole.members[0].address)
        let third = try await registry.put(whole, expecting: second)
        law(try await other.get("a") == RegisteredVolume(whole, third), "every field is read as it was written")
    }

    func checkDelete() async throws(RegistryError) {
        guard let present = try await registry.get("a") else { return law(false, "the entry is still there") }
        law(
            await conflicts(present: present.revision) { () async throws(RegistryError) in
                try await other.delete("a", expecting: Revision(present.revision.number - 1))
            }, "an entry is removed only with the revision that it has")
        let removed = try await other.delete("a", expecting: present.revision)
        law(removed > present.revision, "a removal is a change")
        law(try await registry.get("a") == nil, "what was removed is gone")
        law(
            await conflicts(present: nil) { () async throws(RegistryError) in
                try await registry.put(present.entry, expecting: present.revision)
            }, "what was removed cannot be replaced")
        let again = try await registry.put(present.entry, expecting: nil)
        law(again > removed, "a name that is used again gets a new revision")
        _ = try await registry.delete("a", expecting: again)
    }

    func checkOrder() async throws(RegistryError) {
        let names = ["b", "B", "a.1", "a-1", "a_1", "a10", "a2", "0"]
        var revisions: [String: Revision] = [:]
        for name in names { revisions[name] = try await registry.put(Self.entry(name), expecting: nil) }
        let listing = try await other.list()
        let sorted = names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        law(listing.volumes.map(\.entry.name) == sorted, "the list is in the order of the names' bytes")
        law(
            listing.volumes.allSatisfy { $0.revision == revisions[$0.entry.name] },
            "the list has the entries' revisions")
        law(listing.revision == revisions.values.max(), "the list has the revision of the last change")
        for volume in listing.volumes { _ = try await other.delete(volume.entry.name, expecting: volume.revision) }
    }

    func checkNames() async throws(RegistryError) {
        let longest = String(repeating: "x", count: 128)
        let bad = ["", longest + "x", "a/b", "-a", ".a", "..", "é", "a b", "a\n", "a\0", "a%b", "a'b"]
        let before = try await registry.list().revision
        for name in bad {
            law(
                await fails({ $0 == .invalid }) { () async throws(RegistryError) in
                    try await registry.put(Self.entry(name), expecting: nil)
                }, "\(name.debugDescription) is no name")
            law(
                await fails({ $0 == .invalid }) { () async throws(RegistryError) in try await registry.get(name) },
                "\(name.debugDescription) cannot be asked for")
        }
        var broken = [Self.entry("a"), Self.entry("a"), Self.entry("a"), Self.entry("a"), Self.entry("a")]
        broken[0].members.removeLast()
        broken[1].members[1] = broken[1].members[0]
        broken[2].regionSize = 1000
        broken[3].minimumCopies = 4
        broken[4].labels["long"] = String(repeating: "x", count: VolumeEntry.greatestTextSize)
        for entry in broken {
            law(
                await fails({ $0 == .invalid }) { () async throws(RegistryError) in
                    try await registry.put(entry, expecting: nil)
                },
                "an entry that breaks a rule is refused")
        }
        law(try await registry.list().revision == before, "what was refused has changed nothing")
        let revision = try await registry.put(Self.entry(longest), expecting: nil)
        _ = try await registry.delete(longest, expecting: revision)
    }
}
