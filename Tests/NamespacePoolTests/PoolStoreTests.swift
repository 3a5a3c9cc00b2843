import Base
import DurableFiles
import Foundation
import NamespacePool
import TargetInterface
import Testing

/// A pool in a folder, and what a death leaves there.
@Suite struct PoolStoreTests {
    /// A folder of its own for each test.
    private final class Folder {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("tercet-\(UUID())").path
        init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false) }
        deinit { try? FileManager.default.removeItem(atPath: path) }

        var files: [String] { (try? FileManager.default.contentsOfDirectory(atPath: path).sorted()) ?? [] }
        var record: String { "\(path)/pool.json" }
        func write(_ text: String, _ name: String) throws {
            try text.write(toFile: "\(path)/\(name)", atomically: false, encoding: .utf8)
        }
    }

    private static let limits = PoolLimits(capacity: 1 << 40, maxNamespaces: 16, blockSize: 4096)
    private static let uuid = UUIDBytes(high: 0x0123_4567_89AB_4DEF, low: 0x8123_4567_89AB_CDEF)

    private func open(_ folder: Folder) throws -> PoolStore {
        let store = try PoolStore(folder: folder.path)
        try store.finish()
        return store
    }

    /// The text of a record with one namespace of a mebibyte.
    private func record(stage: String, isAttached: Bool = false) -> String {
        """
        { "version": 1, "namespaces": [ { "nsid": 1, "uuid": "\(Self.uuid)", "blocks": 256, "blockSize": 4096,
          "stage": "\(stage)", "isAttached": \(isAttached) } ] }
        """
    }

    @Test func namespacesOutliveTheProcess() throws {
        let folder = try Folder()
        var store: PoolStore? = try open(folder)
        let made = try #require(try store?.make(blockCount: 1 << 20, within: Self.limits))
        try store?.setAttached(true, made.nsid)
        let other = try #require(try store?.make(blockCount: 8, within: Self.limits))
        let path = try #require(store?.path(of: made))
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        #expect(attributes[.size] as? UInt64 == 4 << 30)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
        var status = stat()
        #expect(stat(path, &status) == 0 && status.st_blocks < 64, "it takes room where it was written to")
        let before = store?.namespaces
        store = nil
        store = try open(folder)
        #expect(store?.namespaces == before && before?.map(\.isAttached) == [true, false])
        #expect(store?.remarks == [])
        try store?.remove(other.nsid)
        #expect(store?.namespaces.map(\.nsid) == [made.nsid])
        try store?.finish()
        #expect(folder.files == ["\(made.uuid).namespace", "pool.json", "pool.reserve"])
    }

    /// Each step at which a process can die, as it leaves the folder; and what is there after the next start.
    @Test(arguments: [("making", true), ("making", false), ("removing", true), ("removing", false)])
    func whatIsHalfDoneIsRemoved(stage: String, hasFile: Bool) throws {
        let folder = try Folder()
        try folder.write(record(stage: stage), "pool.json")
        if hasFile { try folder.write("half", "\(Self.uuid).namespace") }
        try folder.write("{", "pool.json.new")
        let store = try open(folder)
        #expect(store.namespaces == [])
        #expect(folder.files == ["pool.json", "pool.reserve"])
        #expect(try store.make(blockCount: 1, within: Self.limits).nsid == 1)
    }

    /// A namespace grows, and one whose process died before its file was longer is as long as was written down.
    @Test func namespacesGrow() throws {
        let folder = try Folder()
        try folder.write(record(stage: "there"), "pool.json")
        try folder.write("contents", "\(Self.uuid).namespace")
        let store = try open(folder)
        let path = "\(folder.path)/\(Self.uuid).namespace"
        func size() throws -> UInt64? { try FileManager.default.attributesOfItem(atPath: path)[.size] as? UInt64 }
        #expect(try size() == 1 << 20)
        try store.grow(1, blockCount: 1 << 20, within: Self.limits)
        #expect(try size() == 4 << 30)
        #expect(store.namespaces[0].blockCount == 1 << 20)
        let bytes = try #require(try FileHandle(forReadingAtPath: path)?.read(upToCount: 9))
        #expect(bytes == Data("contents\0".utf8))
    }

    @Test func whatElseIsKeptGoesBeforeTheIdentifierIsFree() throws {
        let folder = try Folder()
        try folder.write(record(stage: "removing"), "pool.json")
        let store = try PoolStore(folder: folder.path) { "namespace \($0) is kept" }
        let error = #expect(throws: TercetError.self) { try store.finish() }
        #expect(error?.message == "namespace 1 is kept")
        #expect(try store.make(blockCount: 1, within: Self.limits).nsid == 2)
    }

    /// Files that the pool has not made are none of its business.
    @Test func strangersAreLeftAlone() throws {
        let folder = try Folder()
        try folder.write(record(stage: "there", isAttached: true), "pool.json")
        let stranger = "\(UUIDBytes.random()).namespace"
        try folder.write("precious", stranger)
        let store = try open(folder)
        #expect(store.namespaces.map(\.isAttached) == [true])
        #expect(store.remarks == ["\(folder.path)/\(stranger) is no namespace of the pool; it is left alone"])
        #expect(folder.files.contains(stranger))
    }

    @Test func aFolderThatCannotBeAPoolIsRefused() throws {
        let folder = try Folder()
        func refusal() -> String? {
            do throws(TercetError) {
                _ = try PoolStore(folder: folder.path)
                return nil
            } catch { return error.description }
        }
        try folder.write("precious", "x.namespace")
        #expect(refusal()?.contains("pool.json is missing, but \(folder.path)/x.namespace is there") == true)
        for text in [
            "", "{", "{ \"version\": 1 }", record(stage: "vanished"), "{ \"version\": 1, \"namespaces\": [{}] }",
        ] {
            try folder.write(text, "pool.json")
            #expect(refusal()?.contains("pool.json is damaged: restore it") == true)
        }
        try folder.write("{ \"version\": 2 }", "pool.json")
        #expect(refusal()?.contains("is of version 2, and this release knows version 1") == true)
        try folder.write(record(stage: "there"), "pool.json")
        let open = try PoolStore(folder: folder.path)
        #expect(refusal()?.contains("\(folder.path) is in use by another pool or another tercetd") == true)
        #expect(open.namespaces.count == 1)
        #expect(throws: TercetError.self) { try PoolStore(folder: "/nowhere/to/be/found") }
    }

    /// The largest file that a file system has is a limit of capacity.
    @Test func aNamespaceThatTheFileSystemCannotHaveLeavesNothing() throws {
        let folder = try Folder()
        let store = try open(folder)
        let limits = PoolLimits(capacity: .max, maxNamespaces: 16, blockSize: 4096)
        let blocks = UInt64(Int64.max) / 4096
        do throws(PoolRefusal) {
            _ = try store.make(blockCount: blocks, within: limits)
            // A file system of 64 bits has it.
            try store.remove(1)
        } catch {
            #expect(error == .insufficientCapacity(needed: blocks * 4096, unallocated: 0))
        }
        try store.finish()
        #expect(folder.files == ["pool.json", "pool.reserve"] && store.namespaces == [])
    }
}
