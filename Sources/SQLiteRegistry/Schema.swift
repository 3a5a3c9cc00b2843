import VolumeRegistry

/// The tables of a registry in a SQLite file, and how older ones become newer.
enum Schema {
    /// `application_id` of the file: "Trct".
    static let applicationID: Int64 = 0x5472_6374
    /// `user_version` of the file.
    static let version: Int64 = 4

    /// Statements that take a file from each version to the next.
    static let migrations: [[String]] = [
        [
            // The revision of the last change, and of the last change that is no longer known.
            "CREATE TABLE registry (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL, compacted INTEGER NOT NULL)",
            "INSERT INTO registry VALUES (1, 0, 0)",
            "CREATE TABLE volume (name TEXT PRIMARY KEY, revision INTEGER NOT NULL, entry TEXT NOT NULL) WITHOUT ROWID",
            // Without an entry, it was removed.
            "CREATE TABLE change (revision INTEGER PRIMARY KEY, name TEXT NOT NULL, entry TEXT)",
        ],
        [
            // The revision of the last claim. Claims are no changes of entries.
            "CREATE TABLE claims (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL)",
            "INSERT INTO claims VALUES (1, 0)",
            // The end is in nanoseconds of the clock of the boot that the holder runs in; the holder is a process.
            "CREATE TABLE lease (id INTEGER PRIMARY KEY, seconds INTEGER NOT NULL, end INTEGER NOT NULL, holder TEXT NOT NULL)",
            "CREATE TABLE owner (volume TEXT PRIMARY KEY, name TEXT NOT NULL, revision INTEGER NOT NULL, lease INTEGER NOT NULL "
                + "REFERENCES lease (id) ON DELETE CASCADE) WITHOUT ROWID",
            "CREATE TABLE daemon (name TEXT PRIMARY KEY, record TEXT NOT NULL, lease INTEGER NOT NULL "
                + "REFERENCES lease (id) ON DELETE CASCADE) WITHOUT ROWID",
        ],
        [
            // By the volumes' UUIDs; in base64.
            "CREATE TABLE reservation (volume TEXT PRIMARY KEY, bytes TEXT NOT NULL) WITHOUT ROWID"
        ],
        [
            // All of them in one record.
            "CREATE TABLE pools (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL, record TEXT NOT NULL)"
        ],
    ]

    /// The kinds of files.
    enum Kind: Equatable {
        case empty
        case registry(version: Int64)
        case other
    }

    static func kind(_ database: Database) throws(RegistryError) -> Kind {
        let identity = try database.integer("PRAGMA application_id") ?? 0
        let version = try database.integer("PRAGMA user_version") ?? 0
        if identity == applicationID, version >= 0 { return .registry(version: version) }
        let tables = try database.integer("SELECT count(*) FROM sqlite_schema") ?? 0
        return identity == 0 && version == 0 && tables == 0 ? .empty : .other
    }

    /// Brings a file to this release's version, in one transaction.
    static func migrate(_ database: Database) throws(RegistryError) {
        try database.run("BEGIN IMMEDIATE")
        do throws(RegistryError) {
            // Another program may have done it meanwhile.
            var present = 0
            if case .registry(let version) = try kind(database) { present = Int(version) }
            for step in migrations.dropFirst(present) {
                for statement in step { try database.run(statement) }
            }
            try database.run("PRAGMA application_id = \(applicationID)")
            try database.run("PRAGMA user_version = \(max(Int64(present), version))")
            try database.run("COMMIT")
        } catch {
            try? database.run("ROLLBACK")
            throw error
        }
    }
}
