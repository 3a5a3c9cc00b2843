import Base
import Dispatch
import DurableFiles
import Glibc
import VolumeRegistry

/// A registry in one SQLite file, for the programs of one machine.
///
/// The file is in WAL mode, and each change is one transaction that is durable when it is answered: a program may die at any
/// moment. Its calls run on a thread of their own, because they may wait for the disk and for others.
public final class SQLiteRegistry: Registry, @unchecked Sendable {
    // Unchecked: the connection is used on the queue only.
    private let database: Database
    private let queue = DispatchQueue(label: "tercet registry")
    private let keptChanges: Int
    public let path: String

    /// The time for which a change waits for others.
    public static let busyMilliseconds: Int32 = 10_000

    /// The path in a registry's place as operators write it, `sqlite:PATH`; `nil` for anything else.
    public static func path(ofPlace place: String) -> String? {
        let scheme = "sqlite:"
        return place.hasPrefix(scheme) && place.count > scheme.count ? String(place.dropFirst(scheme.count)) : nil
    }

    /// Opens a registry.
    ///
    /// - Parameters:
    ///   - makes: a file that is not there, or is empty, becomes a registry, with mode 0600.
    ///   - keptChanges: how many changes are known to those that ask for them.
    ///   - busyMilliseconds: how long a change waits for others.
    /// - Throws: `notFound` if there is none, `damaged` if the file is damaged or no registry, `unknownVersion`, `notPermitted`,
    ///   `inUse`. The file is as it was then.
    public init(
        path: String, makes: Bool = false, keptChanges: Int = 1000, busyMilliseconds: Int32 = busyMilliseconds
    ) throws(RegistryError) {
        self.path = path
        self.keptChanges = keptChanges
        try Self.checkFile(path, makes: makes)
        database = try Database(path: path, busyMilliseconds: busyMilliseconds)
        database.keepLogOnClose(true)
        try prepare(makes: makes)
        database.keepLogOnClose(false)
    }

    /// Sees that there is a file, of the right kind.
    private static func checkFile(_ path: String, makes: Bool) throws(RegistryError) {
        var status = stat()
        if lstat(path, &status) == 0 {
            guard status.st_mode & S_IFMT == S_IFREG else {
                throw RegistryError(.invalid, "\(path): is no regular file: a registry is one")
            }
            do throws(TercetError) { try TrustedPath.check(path) } catch {
                throw RegistryError(.notPermitted, error.message)
            }
            guard status.st_size > 0 || makes else { throw missing(path) }
            return
        }
        guard errno == ENOENT else { throw failure("stat", path) }
        guard makes else { throw missing(path) }
        let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else {
            // Another program has made it just now.
            if errno == EEXIST { return }
            throw failure("open", path)
        }
        fchmod(descriptor, 0o600)
        close(descriptor)
    }

    private static func missing(_ path: String) -> RegistryError {
        RegistryError(
            .notFound,
            "\(path): there is no registry; tercet volume create NAME, tercet registry add and tercet registry import make one"
        )
    }

    private static func failure(_ call: String, _ path: String) -> RegistryError {
        let code = errno
        return RegistryError(
            code == EACCES || code == EPERM || code == EROFS ? .notPermitted : .failed,
            "\(path): \(call): \(String(cString: strerror(code)))")
    }

    private func prepare(makes: Bool) throws(RegistryError) {
        switch try Schema.kind(database) {
        case .other:
            throw RegistryError(
                .damaged, "\(path): is a SQLite file and no registry of Tercet; name another file; nothing was changed")
        case .registry(let version) where version > Schema.version:
            throw RegistryError(
                .unknownVersion,
                "\(path): the registry has version \(version), and this release knows \(Schema.version): use the release that wrote "
                    + "it, or a later one; nothing was changed")
        case .empty where !makes: throw Self.missing(path)
        case .registry(version: Schema.version): break
        case .registry, .empty:
            try database.run("PRAGMA journal_mode = WAL")
            try Schema.migrate(database)
        }
        try database.run("PRAGMA synchronous = FULL")
        try database.run("PRAGMA foreign_keys = ON")
        let findings = try database.run("PRAGMA quick_check(1)") { $0.text(0) }
        guard findings == ["ok"] else {
            throw RegistryError(
                .damaged,
                "\(path): the registry is damaged (\(findings.first ?? "")); \(Database.remedy); nothing was changed")
        }
    }

    // MARK: Registry

    public func list() async throws(RegistryError) -> RegistryListing {
        let (revision, rows) = try await perform { database throws(RegistryError) in
            try database.transaction("DEFERRED") { () throws(RegistryError) in
                let rows = try database.run("SELECT name, revision, entry FROM volume ORDER BY name") { columns in
                    (name: columns.text(0), revision: Revision(columns.integer(1)), text: columns.bytes(2) ?? [])
                }
                return (try Self.revision(database), rows)
            }
        }
        var listing = RegistryListing(revision: revision)
        listing.volumes.reserveCapacity(rows.count)
        for row in rows { listing.append(name: row.name, revision: row.revision, text: row.text) }
        return listing
    }

    public func get(_ name: String) async throws(RegistryError) -> RegisteredVolume? {
        try VolumeEntry.validate(name: name)
        let found = try await perform { database throws(RegistryError) in
            try database.run("SELECT revision, entry FROM volume WHERE name = ?", [.text(name)]) { columns in
                (revision: Revision(columns.integer(0)), text: columns.bytes(1) ?? [])
            }.first
        }
        guard let found else { return nil }
        return RegisteredVolume(try VolumeEntry(text: found.text, name: name), found.revision)
    }

    public func put(
        _ entry: VolumeEntry, expecting expected: Revision?
    ) async throws(RegistryError) -> Revision {
        let text = try entry.text()
        return try await change(entry.name, to: text, expecting: expected)
    }

    public func delete(_ name: String, expecting expected: Revision) async throws(RegistryError) -> Revision {
        try VolumeEntry.validate(name: name)
        return try await change(name, to: nil, expecting: expected)
    }

    public func changes(after revision: Revision) async throws(RegistryError) -> [RegistryChange] {
        while !Task.isCancelled {
            let found = try await perform { database throws(RegistryError) in
                try database.transaction("DEFERRED") { () throws(RegistryError) -> [RegistryChange]? in
                    let oldest = try database.integer("SELECT compacted FROM registry") ?? 0
                    guard revision.number >= oldest, revision <= (try Self.revision(database)) else { return nil }
                    return try database.run(
                        "SELECT revision, name, entry FROM change WHERE revision > ? ORDER BY revision",
                        [.integer(revision.number)]
                    ) { RegistryChange(revision: Revision($0.integer(0)), name: $0.text(1), text: $0.bytes(2)) }
                }
            }
            guard let found else { throw .compacted(after: revision) }
            if !found.isEmpty { return found }
            // SQLite tells nobody of changes; to look costs a read of shared memory.
            try? await Task.sleep(for: .milliseconds(100))
        }
        return []
    }

    // MARK: Pools

    public func poolRecord() async throws(RegistryError) -> (text: [UInt8], revision: Revision)? {
        try await perform { database throws(RegistryError) in
            try database.run("SELECT record, revision FROM pools") { ($0.bytes(0) ?? [], Revision($0.integer(1))) }
                .first
        }
    }

    public func put(poolRecord text: String, expecting expected: Revision?) async throws(RegistryError) -> Revision {
        try await perform { database throws(RegistryError) in
            try database.transaction { () throws(RegistryError) in
                let present = try database.integer("SELECT revision FROM pools").map { Revision($0) }
                guard present == expected else { throw .poolConflict(present: present) }
                let revision = Revision((present?.number ?? 0) + 1)
                try database.run(
                    "INSERT OR REPLACE INTO pools (id, revision, record) VALUES (1, ?, ?)",
                    [.integer(revision.number), .text(text)])
                return revision
            }
        }
    }

    // MARK: Changes

    private func change(
        _ name: String, to text: String?, expecting expected: Revision?
    ) async throws(RegistryError) -> Revision {
        let kept = Int64(keptChanges)
        return try await perform { database throws(RegistryError) in
            try database.transaction { () throws(RegistryError) in
                let present = try database.integer("SELECT revision FROM volume WHERE name = ?", [.text(name)])
                    .map { Revision($0) }
                guard present == expected else { throw .conflict(name, present: present, expected: expected) }
                let revision = Revision(try Self.revision(database).number + 1)
                let number = Database.Value.integer(revision.number)
                if let text {
                    try database.run(
                        "INSERT OR REPLACE INTO volume (name, revision, entry) VALUES (?, ?, ?)",
                        [.text(name), number, .text(text)])
                } else {
                    try database.run("DELETE FROM volume WHERE name = ?", [.text(name)])
                }
                try database.run(
                    "INSERT INTO change (revision, name, entry) VALUES (?, ?, ?)",
                    [number, .text(name), text.map { .text($0) } ?? .null])
                let oldest = Database.Value.integer(max(0, revision.number - kept))
                try database.run("DELETE FROM change WHERE revision <= ?", [oldest])
                try database.run("UPDATE registry SET revision = ?, compacted = max(compacted, ?)", [number, oldest])
                return revision
            }
        }
    }

    private static func revision(_ database: Database) throws(RegistryError) -> Revision {
        Revision(try database.integer("SELECT revision FROM registry") ?? 0)
    }

    /// Runs `body` on the registry's thread.
    func perform<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws(RegistryError) -> Value
    ) async throws(RegistryError) -> Value {
        try await queue.run { () throws(RegistryError) in try body(self.database) }
    }
}
