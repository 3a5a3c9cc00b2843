import Base
import VolumeRegistry

/// Leases, owners and daemons.
extension RegistryLaws {
    func checkOwners() async throws(RegistryError) {
        let start = try await registry.owners()
        law(start.owners.isEmpty && start.daemons.isEmpty, "an empty registry has no owners")
        let lease = try await registry.grantLease(seconds: 60)
        law(lease.seconds >= 60, "a lease is not shorter than was asked for")
        law(try await registry.keepAlive(lease) == lease.seconds, "a renewed lease has its time again")
        let claim = try await registry.claim("db", for: "one", lease)
        law(claim > start.revision, "a claim is later than what was seen before")
        let owner = VolumeOwner(name: "one", lease: lease.id, revision: claim)
        law(try await other.owner(of: "db") == owner, "others see an owner")
        law(try await registry.claim("db", for: "one", lease) == claim, "a claim that is made again is the same")
        let second = try await other.grantLease(seconds: 60)
        await refused(present: claim, "what is owned is not claimed") { () async throws(RegistryError) in
            try await other.claim("db", for: "two", second)
        }
        let record = DaemonRecord(name: "two", place: 1, volumes: ["db", "x"])
        try await other.announce(record, second)
        let successor = PresentDaemon(record, lease: second.id)
        law(try await registry.owners().daemons == [successor], "others see a daemon")
        try await other.announce(record, second)
        law(
            await fails({ $0 == .inUse }) { () async throws(RegistryError) in
                try await registry.announce(record, lease)
            }, "a daemon's name is its own while it is there")
        law(try await registry.owners().daemons == [successor], "a daemon is not replaced by one of its name")
        let passed = try await registry.pass("db", claim: claim, to: successor)
        law(passed > claim, "what is passed is claimed later")
        let view = try await registry.owners()
        law(view.revision >= passed, "a look is not earlier than the last claim")
        law(
            view.owners == ["db": VolumeOwner(name: "two", lease: second.id, revision: passed)],
            "what is passed is the other's: \(view.owners)")
        law(
            try await registry.pass("db", claim: claim, to: successor) == passed,
            "what is the other's already stays its own")
        let first = PresentDaemon(DaemonRecord(name: "one", place: 0, volumes: ["db"]), lease: lease.id)
        await refused(present: passed, "a former owner passes nothing") { () async throws(RegistryError) in
            try await registry.pass("db", claim: claim, to: first)
        }
        await refused(present: passed, "a former owner releases nothing") { () async throws(RegistryError) in
            try await registry.release("db", claim: claim)
        }
        try await checkReservation(claim: passed, former: claim)
        let released = try await other.release("db", claim: passed)
        law(released > passed, "a release is later than its claim")
        law(try await registry.owner(of: "db") == nil, "what is released is nobody's")
        law(try await registry.owners().revision >= released, "a look is not earlier than the last release")
        law(try await other.release("db", claim: passed) >= released, "what is released is released again")
        try await checkEndOfLease(second, successor)
        try await registry.revoke(lease)
        try await checkExpiry()
    }

    /// A volume's hosts have a reservation, which belongs to the volume and is changed by its owner alone.
    private func checkReservation(claim: Revision, former: Revision) async throws(RegistryError) {
        let volume = UUIDBytes(high: 7, low: 8)
        law(try await registry.hostReservation(of: volume) == nil, "a volume has no reservation at first")
        let bytes = [UInt8](0...255)
        try await other.keep(hostReservation: bytes, of: volume, "db", claim: claim)
        law(try await registry.hostReservation(of: volume) == bytes, "a reservation is kept byte for byte")
        law(try await registry.hostReservation(of: UUIDBytes(high: 7, low: 9)) == nil, "it is one volume's")
        await refused(present: claim, "a former owner keeps no reservation") { () async throws(RegistryError) in
            try await registry.keep(hostReservation: nil, of: volume, "db", claim: former)
        }
        try await other.keep(hostReservation: [1], of: volume, "db", claim: claim)
        law(try await registry.hostReservation(of: volume) == [1], "the last reservation counts")
        try await other.keep(hostReservation: nil, of: volume, "db", claim: claim)
        try await other.keep(hostReservation: nil, of: volume, "db", claim: claim)
        law(try await registry.hostReservation(of: volume) == nil, "a reservation is given up")
        try await other.keep(hostReservation: [2], of: volume, "db", claim: claim)
        try await registry.forgetHostReservation(of: volume)
        try await registry.forgetHostReservation(of: volume)
        law(try await registry.hostReservation(of: volume) == nil, "that of a volume that is no more is forgotten")
    }

    private func checkEndOfLease(
        _ lease: Lease, _ daemon: PresentDaemon
    ) async throws(RegistryError) {
        let claim = try await other.claim("db", for: "two", lease)
        let third = try await registry.grantLease(seconds: 60)
        let kept = try await registry.claim("kept", for: "three", third)
        try await other.revoke(lease)
        let view = try await registry.owners()
        law(Array(view.owners.keys) == ["kept"] && view.daemons.isEmpty, "what a lease holds ends with it: \(view)")
        try await other.revoke(lease)
        await isLost("a renewal") { () async throws(RegistryError) in try await other.keepAlive(lease) }
        await isLost("a claim") { () async throws(RegistryError) in try await other.claim("db", for: "two", lease) }
        await isLost("a daemon") { () async throws(RegistryError) in try await other.announce(daemon.record, lease) }
        await isLost("a successor") { () async throws(RegistryError) in
            try await registry.pass("kept", claim: kept, to: daemon)
        }
        law(try await registry.owner(of: "db") == nil, "a claim of a lease that has ended is none")
        _ = try await other.release("db", claim: claim)
        law(try await registry.owner(of: "kept")?.revision == kept, "others' claims stay")
        try await registry.revoke(third)
    }

    /// A lease that nobody renews ends by itself, and not before its time.
    private func checkExpiry() async throws(RegistryError) {
        let start = ContinuousClock.now
        let lease = try await other.grantLease(seconds: 1)
        _ = try await other.claim("db", for: "two", lease)
        while try await registry.owner(of: "db") != nil {
            guard ContinuousClock.now - start < .seconds(30) else { return law(false, "a lease ends by itself") }
            try? await Task.sleep(for: .milliseconds(20))
        }
        law(ContinuousClock.now - start >= .seconds(1), "a lease lasts its time")
        await isLost("a renewal") { () async throws(RegistryError) in try await other.keepAlive(lease) }
    }

    private func refused<Result>(
        present: Revision?, _ words: String, _ body: () async throws(RegistryError) -> Result
    ) async { law(await conflicts(present: present, body), words) }

    private func isLost<Result>(_ words: String, _ body: () async throws(RegistryError) -> Result) async {
        law(await fails({ $0 == .leaseLost }, body), "\(words) needs a lease that lasts")
    }
}
