import Base
import VolumeRegistry

/// Those that watch a registry, and several that write at once.
extension RegistryLaws {
    func checkChanges() async throws(RegistryError) {
        let start = try await registry.list().revision
        let made = try await registry.put(Self.entry("w", label: "1"), expecting: nil)
        let changed = try await other.put(Self.entry("w", label: "2"), expecting: made)
        await write("garbage", "x")
        let removed = try await other.delete("w", expecting: changed)
        let changes = try await registry.changes(after: start)
        law(changes.count == 4, "each change is told of once: \(changes)")
        law(changes.map(\.revision) == changes.map(\.revision).sorted(), "changes come in their order")
        law(changes.map(\.name) == ["w", "w", "x", "w"], "a change has the name of its entry")
        if changes.count == 4 {
            law(
                changes[0] == RegistryChange(revision: made, name: "w", kind: .put(Self.entry("w", label: "1"))),
                "a change has the entry as it was then")
            law(changes[1].kind == .put(Self.entry("w", label: "2")), "a change has the entry as it was then")
            if case .unreadable = changes[2].kind {} else { law(false, "what cannot be read is told of") }
            law(
                changes[3] == RegistryChange(revision: removed, name: "w", kind: .deleted),
                "a removal is told of as one")
        }
        law(try await registry.changes(after: made) == Array(changes.dropFirst()), "a watch goes on behind any change")
        law(try await other.changes(after: changed).last?.revision == removed, "others hear the same")
        await write(try Self.entry("x").text(), "x")
        if let present = try await registry.get("x") { _ = try await registry.delete("x", expecting: present.revision) }
    }

    func checkWaiting() async throws(RegistryError) {
        let (registry, other) = (self.registry, self.other)
        let start = try await registry.list().revision
        let watch = Task { try? await registry.changes(after: start) }
        let watchOfOther = Task { try? await other.changes(after: start) }
        // The watches may begin before the change or after it: both have to end in the same way.
        await Task.yield()
        let made = try await other.put(Self.entry("w"), expecting: nil)
        for found in [await watch.value, await watchOfOther.value] {
            law(
                found?.map(\.revision) == [made],
                "a watch that waits is woken by a change: \(String(describing: found))")
        }
        let idle = Task { try? await registry.changes(after: made) }
        await Task.yield()
        idle.cancel()
        law(await idle.value == [], "a watch that is cancelled ends")
        _ = try await registry.delete("w", expecting: made)
    }

    func checkCompaction() async throws(RegistryError) {
        let start = try await registry.list().revision
        var revision = try await registry.put(Self.entry("c"), expecting: nil)
        let first = revision
        var second = first
        for number in 0..<keptChanges {
            revision = try await registry.put(Self.entry("c"), expecting: revision)
            if number == 0 { second = revision }
        }
        await compact(second)
        for stale in [start, Revision(0), Revision(-1), Revision(.min)] where stale < first {
            law(
                await fails({ $0 == .compacted }) { () async throws(RegistryError) in
                    try await other.changes(after: stale)
                },
                "a watch from a revision whose changes are not known hears that, and misses none in silence")
        }
        for early in [Revision(revision.number + 1), Revision(.max)] {
            law(
                await fails({ $0 == .compacted }) { () async throws(RegistryError) in
                    try await other.changes(after: early)
                },
                "a watch from a revision that never was hears that: the registry is an older copy")
        }
        law(
            try await other.changes(after: first).count == keptChanges,
            "a watch from the oldest change that is known hears all")
        _ = try await registry.delete("c", expecting: revision)
    }

    func checkContention() async throws(RegistryError) {
        let tasks = 4
        let rounds = 15
        let (registry, other) = (self.registry, self.other)
        _ = try await registry.put(Self.entry("count", label: "0"), expecting: nil)
        let failures = await withTaskGroup(of: String?.self) { group in
            for task in 0..<tasks {
                group.addTask {
                    let mine = task % 2 == 0 ? registry : other
                    var done = 0
                    while done < rounds {
                        do throws(RegistryError) {
                            guard var found = try await mine.get("count"),
                                let number = found.entry.labels["tier"].flatMap({ Int($0) })
                            else { return "the entry that is counted in is gone" }
                            found.entry.labels["tier"] = String(number + 1)
                            _ = try await mine.put(found.entry, expecting: found.revision)
                            done += 1
                        } catch {
                            guard case .conflict = error.code else { return "\(error)" }
                        }
                    }
                    return nil
                }
            }
            var failures: [String] = []
            for await failure in group { if let failure { failures.append(failure) } }
            return failures
        }
        violations += failures
        guard let found = try await registry.get("count") else { return }
        law(found.entry.labels["tier"] == String(tasks * rounds), "no change of several writers is lost")
        _ = try await registry.delete("count", expecting: found.revision)
    }

    /// Compares the registry with a dictionary.
    func checkRandomOperations(seed: UInt64) async throws(RegistryError) {
        var random = SeededRandom(seed: seed)
        var model: [String: RegisteredVolume] = [:]
        var last = try await registry.list().revision
        for step in 0..<300 {
            let mine = random.next() % 2 == 0 ? registry : other
            let name = "r\(random.next() % 5)"
            let present = model[name]?.revision
            // Now and then another revision than the entry's.
            let expected = random.next() % 4 == 0 ? (random.next() % 2 == 0 ? nil : last) : present
            let entry = Self.entry(name, label: String(step))
            do throws(RegistryError) {
                if random.next() % 4 == 0, let expected {
                    last = try await mine.delete(name, expecting: expected)
                    model[name] = nil
                } else {
                    last = try await mine.put(entry, expecting: expected)
                    model[name] = RegisteredVolume(entry, last)
                }
                law(expected == present, "step \(step): an unexpected revision is refused")
            } catch {
                law(
                    expected != present && error.code == .conflict(present: present),
                    "step \(step): \(error), present \(String(describing: present)), expected \(String(describing: expected))"
                )
            }
            law(try await mine.get(name) == model[name], "step \(step): an entry is what was written last")
        }
        let listing = try await registry.list()
        law(
            listing.volumes == model.values.sorted { $0.entry.name < $1.entry.name } && listing.revision == last,
            "the list is what was written")
    }
}
