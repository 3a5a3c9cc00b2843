import Base
import Foundation
import VolumeRegistry

/// Owners in the file of one machine: a lease lasts until its end by the machine's clock, and no longer than its holder's process. So
/// the death of a daemon is seen at once.
extension SQLiteRegistry {
    public func grantLease(seconds: Int64) async throws(RegistryError) -> Lease {
        guard (1...86_400).contains(seconds) else { throw RegistryError(.invalid, "a lease of \(seconds) s") }
        let lease = Lease(id: .random(in: 1...(.max)), seconds: seconds)
        guard let holder = try? JSONEncoder().encode(Worker.current) else {
            throw RegistryError(.failed, "\(path): this process cannot be described")
        }
        return try await change { database throws(RegistryError) in
            try database.run(
                "INSERT INTO lease (id, seconds, end, holder) VALUES (?, ?, ?, ?)",
                [
                    .integer(lease.id), .integer(seconds), .integer(Self.end(seconds)),
                    .text(String(decoding: holder, as: UTF8.self)),
                ])
            return lease
        }
    }

    @discardableResult
    public func keepAlive(_ lease: Lease) async throws(RegistryError) -> Int64 {
        try await change { database throws(RegistryError) in
            try Self.check(lease.id, database)
            try database.run(
                "UPDATE lease SET end = ? WHERE id = ?", [.integer(Self.end(lease.seconds)), .integer(lease.id)])
            return lease.seconds
        }
    }

    public func revoke(_ lease: Lease) async throws(RegistryError) {
        try await change { database throws(RegistryError) in
            try database.run("DELETE FROM lease WHERE id = ?", [.integer(lease.id)])
        }
    }

    public func claim(_ volume: String, for owner: String, _ lease: Lease) async throws(RegistryError) -> Revision {
        try VolumeEntry.validate(name: volume)
        return try await change { database throws(RegistryError) in
            try Self.check(lease.id, database)
            if let present = try Self.owner(volume, database) {
                guard present.lease == lease.id else { throw .owned(volume, by: present) }
                return present.revision
            }
            return try Self.put(owner, lease.id, volume, database)
        }
    }

    public func pass(
        _ volume: String, claim: Revision, to daemon: PresentDaemon
    ) async throws(RegistryError) -> Revision {
        try VolumeEntry.validate(name: volume)
        return try await change { database throws(RegistryError) in
            let present = try Self.owner(volume, database)
            if let present, present.lease == daemon.lease { return present.revision }
            guard present?.revision == claim else { throw .owned(volume, by: present) }
            try Self.check(daemon.lease, database)
            return try Self.put(daemon.record.name, daemon.lease, volume, database)
        }
    }

    @discardableResult
    public func release(_ volume: String, claim: Revision) async throws(RegistryError) -> Revision {
        try VolumeEntry.validate(name: volume)
        return try await change { database throws(RegistryError) in
            let present = try Self.owner(volume, database)
            guard let present else {
                return Revision(try database.integer("SELECT revision FROM claims") ?? 0)
            }
            guard present.revision == claim else { throw .owned(volume, by: present) }
            try database.run("DELETE FROM owner WHERE volume = ?", [.text(volume)])
            return try Self.nextClaim(database)
        }
    }

    public func announce(_ daemon: DaemonRecord, _ lease: Lease) async throws(RegistryError) {
        let text = try daemon.text()
        try await change { database throws(RegistryError) in
            try Self.check(lease.id, database)
            let present = try database.integer("SELECT lease FROM daemon WHERE name = ?", [.text(daemon.name)])
            guard present == nil || present == lease.id else { throw .nameInUse(daemon.name) }
            try database.run(
                "INSERT OR REPLACE INTO daemon (name, record, lease) VALUES (?, ?, ?)",
                [.text(daemon.name), .text(text), .integer(lease.id)])
        }
    }

    public func hostReservation(of volume: UUIDBytes) async throws(RegistryError) -> [UInt8]? {
        let path = path
        return try await perform { database throws(RegistryError) in
            let found = try database.run("SELECT bytes FROM reservation WHERE volume = ?", [.text("\(volume)")]) {
                $0.text(0)
            }
            guard let text = found.first else { return nil }
            guard let data = Data(base64Encoded: text) else {
                throw RegistryError(.damaged, "\(path): the reservation of the volume \(volume) is damaged")
            }
            return Array(data)
        }
    }

    public func keep(
        hostReservation reservation: [UInt8]?, of volume: UUIDBytes, _ name: String, claim: Revision
    ) async throws(RegistryError) {
        try VolumeEntry.validate(name: name)
        try await change { database throws(RegistryError) in
            let present = try Self.owner(name, database)
            guard present?.revision == claim else { throw .owned(name, by: present) }
            guard let reservation else {
                return try database.run("DELETE FROM reservation WHERE volume = ?", [.text("\(volume)")])
            }
            try database.run(
                "INSERT OR REPLACE INTO reservation (volume, bytes) VALUES (?, ?)",
                [.text("\(volume)"), .text(Data(reservation).base64EncodedString())])
        }
    }

    public func forgetHostReservation(of volume: UUIDBytes) async throws(RegistryError) {
        try await change { database throws(RegistryError) in
            try database.run("DELETE FROM reservation WHERE volume = ?", [.text("\(volume)")])
        }
    }

    public func owners() async throws(RegistryError) -> OwnersListing {
        try await perform { database throws(RegistryError) in
            try database.transaction("DEFERRED") { () throws(RegistryError) in
                let living = try Self.leases(database).living
                var listing = OwnersListing(
                    revision: Revision(try database.integer("SELECT revision FROM claims") ?? 0))
                let owners = try database.run("SELECT volume, name, lease, revision FROM owner") { row in
                    (
                        row.text(0),
                        VolumeOwner(name: row.text(1), lease: row.integer(2), revision: Revision(row.integer(3)))
                    )
                }
                for (volume, owner) in owners where living.contains(owner.lease) { listing.owners[volume] = owner }
                let daemons = try database.run("SELECT record, lease FROM daemon ORDER BY name") { row in
                    (row.bytes(0) ?? [], row.integer(1))
                }
                for (record, lease) in daemons where living.contains(lease) {
                    listing.append(daemon: record, lease: lease)
                }
                return listing
            }
        }
    }

    // MARK: In a transaction

    /// Changes something, once the leases that have ended are removed, and what is bound to them.
    private func change<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws(RegistryError) -> Value
    ) async throws(RegistryError) -> Value {
        try await perform { database throws(RegistryError) in
            try database.transaction { () throws(RegistryError) in
                for lease in try Self.leases(database).ended {
                    try database.run("DELETE FROM lease WHERE id = ?", [.integer(lease)])
                }
                return try body(database)
            }
        }
    }

    private static func end(_ seconds: Int64) -> Int64 {
        Int64(clamping: MonotonicTime.now().advanced(byMilliseconds: UInt64(seconds) * 1000).nanoseconds)
    }

    private static func leases(_ database: Database) throws(RegistryError) -> (living: Set<Int64>, ended: [Int64]) {
        let rows = try database.run("SELECT id, end, holder FROM lease") { row in
            (id: row.integer(0), end: row.integer(1), holder: row.bytes(2) ?? [])
        }
        let now = Int64(clamping: MonotonicTime.now().nanoseconds)
        let boot = Worker.current.boot
        var living: Set<Int64> = []
        var ended: [Int64] = []
        for row in rows {
            // The clock of another boot says nothing: that boot is over, and its processes with it.
            let holder = try? JSONDecoder().decode(Worker.self, from: Data(row.holder))
            if row.end > now, let holder, holder.boot == boot, holder.isAlive != false {
                living.insert(row.id)
            } else {
                ended.append(row.id)
            }
        }
        return (living, ended)
    }

    private static func check(_ lease: Int64, _ database: Database) throws(RegistryError) {
        let found = try database.integer("SELECT id FROM lease WHERE id = ?", [.integer(lease)])
        guard found != nil else { throw .leaseLost(lease) }
    }

    private static func owner(_ volume: String, _ database: Database) throws(RegistryError) -> VolumeOwner? {
        try database.run("SELECT name, lease, revision FROM owner WHERE volume = ?", [.text(volume)]) { row in
            VolumeOwner(name: row.text(0), lease: row.integer(1), revision: Revision(row.integer(2)))
        }.first
    }

    private static func put(
        _ name: String, _ lease: Int64, _ volume: String, _ database: Database
    ) throws(RegistryError) -> Revision {
        let revision = try nextClaim(database)
        try database.run(
            "INSERT OR REPLACE INTO owner (volume, name, lease, revision) VALUES (?, ?, ?, ?)",
            [.text(volume), .text(name), .integer(lease), .integer(revision.number)])
        return revision
    }

    private static func nextClaim(_ database: Database) throws(RegistryError) -> Revision {
        try database.run("UPDATE claims SET revision = revision + 1")
        return Revision(try database.integer("SELECT revision FROM claims") ?? 0)
    }
}
