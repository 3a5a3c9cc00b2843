import Base
import EtcdRegistry
import Foundation
import RegistryLaws
import Synchronization
import Testing
import VolumeDriver
import VolumeRegistry

/// One after the other: each starts etcd, up to three of them, and waits for processes.
@Suite("The registry in etcd", .serialized)
struct EtcdRegistryTests {
    private static func entry(_ name: String, label: String = "") -> VolumeEntry {
        let members = (1...3).compactMap { MemberAddress("192.0.2.\($0):4420/nqn.2026-11.io.example:a/1") }
        var entry = VolumeEntry(
            name: name, uuid: .random(), state: .ready, members: members.map { VolumeEntry.Member($0) },
            regionSize: 1 << 20)
        entry.labels = ["tier": label]
        return entry
    }

    private static func registry(
        _ place: String, makes: Bool = true, milliseconds: Int? = nil
    ) async throws -> EtcdRegistry {
        try await EtcdRegistry(try EtcdPlace(place), makes: makes, milliseconds: milliseconds)
    }

    /// Checks the laws; `whileCompacted` is called when the changes and watches are checked, before many write at once.
    private static func violations(
        _ cluster: EtcdCluster, _ registry: EtcdRegistry, _ other: EtcdRegistry,
        whileCompacted: @escaping () -> Void = {}
    ) async -> [String] {
        await checkRegistryLaws(
            registry, other: other, keptChanges: 20,
            write: { text, name in cluster.etcdctl(["put", "/tercet/volumes/\(name)", "--", text]) },
            compact: { revision in
                cluster.etcdctl(["compaction", String(revision.number)])
                // Each member has to know of it.
                for member in cluster.endpoints.indices {
                    var attempts = 0
                    while attempts < 1000,
                        cluster.etcdctl(["get", "x", "--rev=\(revision.number - 1)"], at: member) == 0
                    {
                        usleep(5000)
                        attempts += 1
                    }
                }
                whileCompacted()
            }, seed: .random(in: .min ... .max))
    }

    private func fails<Result>(
        _ code: RegistryError.Code, _ words: String = "", _ body: () async throws -> Result
    ) async {
        do {
            _ = try await body()
            Issue.record("an error was expected")
        } catch {
            let error = error as? RegistryError
            #expect(
                error?.code == code && (words.isEmpty || error?.message.contains(words) == true),
                "\(String(describing: error))")
        }
    }

    @Test("It keeps the laws, on one etcd")
    func lawsOnOne() async throws {
        let cluster = try EtcdCluster(1)
        let registry = try await Self.registry(cluster.place)
        let other = try await Self.registry(cluster.place, makes: false)
        #expect(await Self.violations(cluster, registry, other) == [])
    }

    @Test("It keeps the laws on a cluster of three whose members are killed, one after the other")
    func lawsOnThree() async throws {
        let cluster = try EtcdCluster(3)
        let registry = try await Self.registry(cluster.place)
        let other = try await Self.registry(cluster.place, makes: false)
        let isDone = Atomic(false)
        let isKilling = Atomic(false)
        let kills = Atomic(0)
        let found = await Self.violations(cluster, registry, other) {
            let shared = UncheckedBox(cluster)
            isKilling.store(true, ordering: .releasing)
            // The first one that is killed is the one that both ask.
            Thread {
                for member in shared.value.endpoints.indices where !isDone.load(ordering: .acquiring) {
                    shared.value.crash(member)
                    kills.add(1, ordering: .relaxed)
                    usleep(700_000)
                    try? shared.value.start(member)
                    try? shared.value.waitUntilHealthy()
                }
                isKilling.store(false, ordering: .releasing)
            }.start()
        }
        isDone.store(true, ordering: .releasing)
        while isKilling.load(ordering: .acquiring) { try await Task.sleep(for: .milliseconds(10)) }
        #expect(found == [])
        #expect(kills.load(ordering: .relaxed) >= 1)
    }

    @Test("It keeps the laws where answers are lost: a change is made once, and is known to have been made")
    func lawsWithLostAnswers() async throws {
        let cluster = try EtcdCluster(1)
        let place = try cluster.gateway("lossy")
        let registry = try await Self.registry(place)
        let other = try await Self.registry(place, makes: false)
        #expect(await Self.violations(cluster, registry, other) == [])
    }

    @Test("A gateway that does not know what guards are is refused before anything is changed")
    func unguarded() async throws {
        let cluster = try EtcdCluster(1)
        let sound = try await Self.registry(cluster.place)
        let revision = try await sound.put(Self.entry("db"), expecting: nil)
        let registry = try await Self.registry(try cluster.gateway("unguarded"), makes: false)
        #expect(try await registry.get("db")?.revision == revision)
        await fails(.failed, "does not understand the guards") {
            try await registry.put(Self.entry("db"), expecting: nil)
        }
        await fails(.failed, "does not understand the guards") {
            try await registry.delete("db", expecting: Revision(1))
        }
        #expect(try await sound.get("db")?.revision == revision)
        let garbage = try cluster.gateway("garbage")
        await fails(.unavailable, "none of etcd's") {
            try await Self.registry(garbage, makes: false, milliseconds: 500)
        }
    }

    @Test("Without a quorum calls end with an error that says so, and go on when there is one again")
    func quorum() async throws {
        let cluster = try EtcdCluster(3)
        let registry = try await Self.registry(cluster.place, milliseconds: 2000)
        let revision = try await registry.put(Self.entry("db"), expecting: nil)
        let watch = Task { try await registry.changes(after: revision) }
        cluster.crash(0)
        cluster.crash(1)
        await fails(.unavailable, "more than half of the cluster's members") { try await registry.get("db") }
        await fails(.unavailable, cluster.endpoints[1]) { try await registry.put(Self.entry("e"), expecting: nil) }
        // A member that has lost its leader does not keep a watch in silence.
        await fails(.unavailable, cluster.endpoints[2]) { try await watch.value }
        try cluster.start(1)
        try cluster.waitUntilHealthy()
        #expect(try await registry.get("db")?.revision == revision)
        // It is not known whether "e" was made.
        let present = try await registry.get("e")
        _ = try await registry.put(Self.entry("e", label: "2"), expecting: present?.revision)
        #expect(try await registry.list().volumes.map(\.entry.name) == ["db", "e"])
    }

    @Test("A member that hangs, or is killed, is left for another, by calls and by watches")
    func hanging() async throws {
        let cluster = try EtcdCluster(3)
        let registry = try await Self.registry(cluster.place, milliseconds: 3000)
        let writer = try await Self.registry(
            "etcd://" + cluster.endpoints.reversed().joined(separator: ","), makes: false)
        var revision = try await registry.list().revision
        for isKilled in [false, true] {
            let watched = revision
            let watch = Task { try await registry.changes(after: watched) }
            // The watch may have begun at the first member or not: both have to end in the same way.
            try await Task.sleep(for: .milliseconds(200))
            if isKilled { cluster.crash(1) } else { cluster.hang(0) }
            revision = try await writer.put(Self.entry(isKilled ? "killed" : "hangs"), expecting: nil)
            #expect(try await registry.get(isKilled ? "killed" : "hangs")?.revision == revision)
            #expect(try await watch.value.map(\.revision) == [revision])
            if !isKilled { cluster.hang(0, false) }
        }
    }

    @Test("A lease is granted, renewed and given back; a claim ends with it")
    func leases() async throws {
        let cluster = try EtcdCluster(1)
        let registry = try await Self.registry(cluster.place)
        let other = try await Self.registry(cluster.place, makes: false)
        let lease = try await registry.grantLease(seconds: 60)
        #expect(lease.seconds == 60)
        let claim = try await registry.claim("db", for: "one", lease)
        #expect(try await other.owner(of: "db") == VolumeOwner(name: "one", lease: lease.id, revision: claim))
        #expect(try await registry.claim("db", for: "one", lease) == claim)
        let short = try await other.grantLease(seconds: 1)
        #expect((1...10).contains(short.seconds))
        await fails(.conflict(present: claim), "'one' owns it") { try await other.claim("db", for: "two", short) }
        #expect(try await registry.keepAlive(lease) == 60)
        try await registry.revoke(lease)
        #expect(try await other.owner(of: "db") == nil)
        try await registry.revoke(lease)
        await fails(.leaseLost) { try await registry.keepAlive(lease) }
        await fails(.leaseLost) { try await registry.claim("db", for: "one", lease) }
        // One that nobody renews ends by itself.
        let renewed = try await other.grantLease(seconds: 1)
        _ = try await other.claim("db", for: "two", renewed)
        let start = ContinuousClock.now
        while try await registry.owner(of: "db") != nil {
            #expect(ContinuousClock.now - start < .seconds(30))
            try await Task.sleep(for: .milliseconds(50))
        }
        await fails(.leaseLost) { try await other.keepAlive(renewed) }
    }

    @Test("A registry is made once, and nothing else is taken for one")
    func opening() async throws {
        let cluster = try EtcdCluster(1)
        await fails(.notFound, "there is no registry at /tercet") {
            try await Self.registry(cluster.place, makes: false)
        }
        let registry = try await Self.registry(cluster.place)
        let revision = try await registry.put(Self.entry("db"), expecting: nil)
        let elsewhere = try await Self.registry(cluster.place + "?prefix=/other/place")
        #expect(try await elsewhere.list().volumes.isEmpty)
        #expect(try await Self.registry(cluster.place).get("db")?.revision == revision)
        for (value, code, words) in [
            (#"{"version":2}"#, RegistryError.Code.unknownVersion, "has version 2"),
            ("garbage", .damaged, "none of a registry"),
            ("", .damaged, "none of a registry"),
        ] {
            cluster.etcdctl(["put", "/tercet/registry", "--", value])
            await fails(code, words) { try await Self.registry(cluster.place) }
        }
        await fails(.unavailable, "more than half") {
            try await Self.registry("etcd://127.0.0.1:1", milliseconds: 300)
        }
    }

    @Test("More volumes than a page has are listed, as they were at one moment")
    func many() async throws {
        let cluster = try EtcdCluster(1)
        let registry = try await Self.registry(cluster.place)
        // Three pages.
        for number in 0..<1201 { _ = try await registry.put(Self.entry("v\(number)"), expecting: nil) }
        let listing = try await registry.list()
        #expect(Set(listing.volumes.map(\.entry.name)) == Set((0..<1201).map { "v\($0)" }))
        #expect(listing.volumes.map(\.revision).max() == listing.revision)
    }

    @Test("A place is what the manual says")
    func places() async throws {
        for place in [
            "etcd://a:1", "etcd://192.0.2.1:2379,192.0.2.2:2379,[2001:db8::1]:2379", "etcd://a:1?prefix=/x/y",
            "etcd://a:1?tls&deadline=600",
        ] { #expect(throws: Never.self) { try EtcdPlace(place) } }
        for place in [
            "", "etcd:", "etcd://", "etcd://a", "etcd://a:", "etcd://a:0", "etcd://a:65536", "etcd://a:1,",
            "etcd://a:1,a:1",
            "etcd://a b:1", "etcd://a/b:1", "etcd://u@a:1", "etcd://a:1?x=1", "etcd://a:1?prefix=x",
            "etcd://a:1?prefix=/x/", "etcd://a:1?prefix=/", "etcd://a:1?tls=1",
            "etcd://a:1?deadline=0", "etcd://a:1?deadline=x", "etcd://a:1?user=u", "etcd://a:1?password-file=/dev/null",
            "etcd://a:1?cert=/dev/null", "etcd://a:1?ca=/nonexistent", "http://a:1",
        ] { #expect(throws: RegistryError.self, "\(place)") { try EtcdPlace(place) } }
    }
}

/// Hands a value to a thread that alone uses it from then on.
private final class UncheckedBox<Value>: @unchecked Sendable {
    // Unchecked: see above.
    let value: Value

    init(_ value: Value) { self.value = value }
}
