import Base
import CSQLite
import Foundation
import RegistryLaws
import SQLiteRegistry
import Testing
import VolumeDriver
import VolumeRegistry

@Suite("The registry in a SQLite file")
struct SQLiteRegistryTests {
    /// A folder of its own, removed at the end.
    private final class Folder {
        let path: String

        init() throws {
            var template = Array("/tmp/tercet-registry.XXXXXX".utf8CString)
            path = String(cString: try #require(mkdtemp(&template)))
        }

        deinit {
            clear()
            unlink(path + "/link")
            rmdir(path)
        }

        /// Removes the file, with what SQLite keeps beside it.
        func clear() { for name in ["r", "r-wal", "r-shm"] { unlink("\(path)/\(name)") } }

        var file: String { path + "/r" }

        func write(_ bytes: [UInt8], at offset: Int = 0) throws {
            let descriptor = open(file, O_WRONLY | O_CREAT, 0o600)
            #expect(pwrite(descriptor, bytes, bytes.count, offset) == bytes.count)
            close(descriptor)
        }

        /// Waits until the last connection is closed: it takes the log away.
        func waitUntilClosed() {
            for _ in 0..<5000 where access(file + "-wal", F_OK) == 0 { usleep(1000) }
        }

        func bytes() -> [UInt8] {
            let descriptor = open(file, O_RDONLY)
            defer { close(descriptor) }
            var buffer = [UInt8](repeating: 0, count: 1 << 20)
            return Array(buffer[..<max(0, read(descriptor, &buffer, buffer.count))])
        }
    }

    /// Runs SQL on a file, as another program would.
    private static func sql(_ path: String, _ text: String) {
        var database: OpaquePointer?
        let isOpen = sqlite3_open(path, &database) == SQLITE_OK
        sqlite3_busy_timeout(database, 10_000)
        let result = sqlite3_exec(database, text, nil, nil, nil)
        #expect(isOpen && result == SQLITE_OK, "\(String(cString: sqlite3_errmsg(database)))")
        sqlite3_close(database)
    }

    private static func entry(_ name: String) -> VolumeEntry {
        let members = (1...3).compactMap { MemberAddress("192.0.2.\($0):4420/nqn.2026-11.io.example:a/1") }
        return VolumeEntry(
            name: name, uuid: .random(), state: .ready, members: members.map { VolumeEntry.Member($0) },
            regionSize: 1 << 20)
    }

    @Test("It keeps the laws, with two clients")
    func laws() async throws {
        let folder = try Folder()
        let seed = UInt64.random(in: .min ... .max)
        let registry = try SQLiteRegistry(path: folder.file, makes: true, keptChanges: 20)
        let other = try SQLiteRegistry(path: folder.file, keptChanges: 20)
        let path = folder.file
        let violations = await checkRegistryLaws(
            registry, other: other, keptChanges: 20,
            write: { text, name in
                let text = text.replacing("'", with: "''")
                Self.sql(
                    path,
                    """
                    BEGIN IMMEDIATE; UPDATE registry SET revision = revision + 1;
                    INSERT OR REPLACE INTO volume SELECT '\(name)', revision, '\(text)' FROM registry;
                    INSERT INTO change SELECT revision, '\(name)', '\(text)' FROM registry; COMMIT
                    """)
            }, seed: seed)
        #expect(violations == [], "seed \(seed)")
    }

    @Test("A file that anybody may write to is no registry")
    func writableByAll() async throws {
        let folder = try Folder()
        do { withExtendedLifetime(try SQLiteRegistry(path: folder.file, makes: true)) {} }
        folder.waitUntilClosed()
        try #require(chmod(folder.file, 0o602) == 0)
        let error = #expect(throws: RegistryError.self) { try SQLiteRegistry(path: folder.file) }
        #expect(error?.code == .notPermitted)
        #expect(
            error?.message == "\(folder.file): anybody may write to it; take that away with chmod o-w \(folder.file)")
    }

    @Test("What was written is there for the next program, and nobody else may read it")
    func reopened() async throws {
        let folder = try Folder()
        let entry = Self.entry("db")
        var revision = Revision(0)
        do {
            let registry = try SQLiteRegistry(path: folder.file, makes: true)
            revision = try await registry.put(entry, expecting: nil)
            for name in ["r", "r-wal", "r-shm"] {
                var status = stat()
                let result = stat("\(folder.path)/\(name)", &status)
                #expect(result == 0)
                #expect(status.st_mode & 0o777 == 0o600, "\(name)")
            }
            withExtendedLifetime(registry) {}
        }
        folder.waitUntilClosed()
        let again = try SQLiteRegistry(path: folder.file)
        #expect(try await again.get("db") == RegisteredVolume(entry, revision))
        #expect(try await again.changes(after: Revision(0)).count == 1)
    }

    /// Opening fails with the code, says the words, and leaves the file as it was.
    private func expectRefusal(
        _ folder: Folder, _ code: RegistryError.Code, _ words: String, makes: Bool = true
    ) throws {
        let before = folder.bytes()
        let error = try #require(throws: RegistryError.self) { try SQLiteRegistry(path: folder.file, makes: makes) }
        #expect(error.code == code && error.message.contains(words), "\(error)")
        #expect(folder.bytes() == before, "the file is as it was")
    }

    @Test("Files that are no registry are refused, and left alone")
    func others() throws {
        let folder = try Folder()
        #expect(throws: RegistryError.self) { try SQLiteRegistry(path: folder.file) }
        #expect(access(folder.file, F_OK) != 0, "a registry is made only where that is asked for")
        try folder.write(Array("members: 3\n".utf8))
        try expectRefusal(folder, .damaged, "is no registry")
        folder.clear()
        Self.sql(folder.file, "CREATE TABLE mine (a); INSERT INTO mine VALUES (1)")
        try expectRefusal(folder, .damaged, "no registry of Tercet")
        folder.clear()
        Self.sql(folder.file, "PRAGMA journal_mode = WAL; CREATE TABLE mine (a); INSERT INTO mine VALUES (1)")
        try expectRefusal(folder, .damaged, "no registry of Tercet")
        folder.clear()
        Self.sql(folder.file, "PRAGMA user_version = 3")
        try expectRefusal(folder, .damaged, "no registry of Tercet")
        folder.clear()
        try folder.write([])
        try expectRefusal(folder, .notFound, "there is no registry", makes: false)
        mkdir(folder.path + "/folder", 0o700)
        defer { rmdir(folder.path + "/folder") }
        #expect(throws: RegistryError.self) { try SQLiteRegistry(path: folder.path + "/folder", makes: true) }
        symlink(folder.file, folder.path + "/link")
        #expect(throws: RegistryError.self) { try SQLiteRegistry(path: folder.path + "/link", makes: true) }
    }

    @Test("A registry of a newer release is refused, and left alone")
    func newer() throws {
        let folder = try Folder()
        _ = try SQLiteRegistry(path: folder.file, makes: true)
        folder.waitUntilClosed()
        Self.sql(folder.file, "PRAGMA user_version = 99")
        try expectRefusal(folder, .unknownVersion, "version 99")
    }

    @Test("A damaged registry is refused with what to do, wherever the damage is")
    func damaged() async throws {
        let folder = try Folder()
        do {
            let registry = try SQLiteRegistry(path: folder.file, makes: true)
            for number in 0..<100 { _ = try await registry.put(Self.entry("v\(number)"), expecting: nil) }
        }
        folder.waitUntilClosed()
        let sound = folder.bytes()
        #expect(sound.count > 8 * 4096)
        // The first page's header, the root pages behind it, and one page among the last.
        for offset in [0, 20, 100, 4096, 2 * 4096, 3 * 4096, 5 * 4096] {
            unlink(folder.file + "-wal")
            unlink(folder.file + "-shm")
            try folder.write(sound)
            try folder.write([UInt8](repeating: 0xA5, count: 64), at: offset)
            try expectRefusal(folder, .damaged, "put a backup back")
        }
        // A file that was cut off.
        try folder.write(sound)
        #expect(truncate(folder.file, off_t(sound.count / 2)) == 0)
        try expectRefusal(folder, .damaged, "put a backup back")
    }

    @Test("Another program that keeps the registry locked is named")
    func locked() async throws {
        let folder = try Folder()
        let registry = try SQLiteRegistry(path: folder.file, makes: true, busyMilliseconds: 50)
        _ = try await registry.put(Self.entry("db"), expecting: nil)
        // A program of Python's, which has SQLite of its own, tells when it has the lock.
        let program = """
            import sqlite3, time
            c = sqlite3.connect("\(folder.file)", isolation_level=None)
            c.execute("BEGIN IMMEDIATE")
            print("locked", flush=True)
            time.sleep(60)
            """
        let other = Process()
        other.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
        other.arguments = ["-c", program]
        let pipe = Pipe()
        other.standardOutput = pipe
        try other.run()
        #expect(pipe.fileHandleForReading.availableData.isEmpty == false)
        do {
            _ = try await registry.put(Self.entry("other"), expecting: nil)
            Issue.record("a locked registry was written")
        } catch {
            #expect(
                error.code == .inUse && error.message.contains("process \(other.processIdentifier) (python3)"),
                "\(error)")
        }
        #expect(try await registry.get("db") != nil, "it can be read meanwhile")
        kill(other.processIdentifier, SIGKILL)
        other.waitUntilExit()
        _ = try await registry.put(Self.entry("other"), expecting: nil)
    }
}
