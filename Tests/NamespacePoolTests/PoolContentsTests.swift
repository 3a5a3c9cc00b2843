import Base
import NamespacePool
import TargetInterface
import Testing

/// The rules of a pool, without a file.
@Suite struct PoolContentsTests {
    private static let limits = PoolLimits(capacity: 10 << 20, maxNamespaces: 4, blockSize: 4096)

    /// A pool with namespaces of so many blocks each.
    private func pool(_ sizes: UInt64...) throws -> PoolContents {
        var pool = try PoolContents()
        for size in sizes { pool.made(try pool.make(blockCount: size, within: Self.limits).namespace.nsid) }
        return pool
    }

    private func refusal(_ body: () throws(PoolRefusal) -> Void) -> PoolRefusal? {
        do throws(PoolRefusal) {
            try body()
            return nil
        } catch { return error }
    }

    @Test func theLowestFreeIdentifierIsTaken() throws {
        var pool = try pool(1, 1, 1)
        #expect(pool.namespaces.map(\.nsid) == [1, 2, 3])
        #expect(Set(pool.namespaces.map(\.uuid)).count == 3)
        let former = pool.namespaces[1].uuid
        try pool.remove(2)
        #expect(pool.namespaces.map(\.nsid) == [1, 3])
        #expect(pool.leftovers.map(\.nsid) == [2], "its file is there")
        #expect(try pool.make(blockCount: 1, within: Self.limits).namespace.nsid == 4, "2 is not free yet")
        pool.abandon(4)
        pool.removed(4)
        pool.removed(2)
        let again = try pool.make(blockCount: 1, within: Self.limits)
        #expect(again.namespace.nsid == 2 && again.namespace.uuid != former && again.stage == .making)
        #expect(!pool.namespaces.contains { $0.nsid == 2 }, "it is not made yet")
    }

    @Test func capacityIsWhatIsPromised() throws {
        var pool = try pool(1024, 1024)
        let needed = UInt64(513 * 4096)
        #expect(
            refusal { () throws(PoolRefusal) in _ = try pool.make(blockCount: 513, within: Self.limits) }
                == .insufficientCapacity(needed: needed, unallocated: 2 << 20))
        try pool.remove(1)
        #expect(
            refusal { () throws(PoolRefusal) in _ = try pool.make(blockCount: 513, within: Self.limits) } != nil,
            "what is being removed still takes room")
        pool.removed(1)
        _ = try pool.make(blockCount: 513, within: Self.limits)
        #expect(
            refusal { () throws(PoolRefusal) in _ = try pool.make(blockCount: .max, within: Self.limits) }
                == .insufficientCapacity(needed: .max, unallocated: (10 << 20) - (1024 + 513) * 4096),
            "more bytes than can be counted")
        // A pool that has been made smaller has nothing left, and keeps what it has.
        let small = PoolLimits(capacity: 1 << 20, maxNamespaces: 4, blockSize: 4096)
        #expect(
            refusal { () throws(PoolRefusal) in _ = try pool.make(blockCount: 1, within: small) }
                == .insufficientCapacity(needed: 4096, unallocated: 0))
        #expect(pool.namespaces.map(\.nsid) == [2])
    }

    @Test func thereIsALimitOfNamespaces() throws {
        var pool = try pool(1, 1, 1, 1)
        #expect(
            refusal { () throws(PoolRefusal) in _ = try pool.make(blockCount: 1, within: Self.limits) }
                == .noIdentifier(max: 4))
        #expect(refusal { () throws(PoolRefusal) in _ = try pool.make(blockCount: 0, within: Self.limits) } == .empty)
    }

    @Test func aCallThatIsRepeatedFindsItsNamespace() throws {
        var pool = try PoolContents()
        let uuid = UUIDBytes.random()
        let first = try pool.make(blockCount: 8, uuid: uuid, within: Self.limits)
        #expect(first.namespace.uuid == uuid)
        #expect(
            refusal { () throws(PoolRefusal) in _ = try pool.make(blockCount: 8, uuid: uuid, within: Self.limits) }
                == .uuidInUse(uuid), "it is being made")
        pool.made(1)
        let again = try pool.make(blockCount: 8, uuid: uuid, within: Self.limits)
        #expect(again.stage == .there && again.namespace == pool.namespaces[0] && pool.entries.count == 1)
        #expect(
            refusal { () throws(PoolRefusal) in _ = try pool.make(blockCount: 9, uuid: uuid, within: Self.limits) }
                == .uuidInUse(uuid), "another size")
    }

    @Test func attachingIsOnceAndDetachingToo() throws {
        var pool = try pool(1)
        #expect(!pool.namespaces[0].isAttached)
        #expect(refusal { () throws(PoolRefusal) in try pool.setAttached(false, 1) } == .notAttached(1))
        try pool.setAttached(true, 1)
        #expect(pool.namespaces[0].isAttached)
        #expect(refusal { () throws(PoolRefusal) in try pool.setAttached(true, 1) } == .alreadyAttached(1))
        #expect(refusal { () throws(PoolRefusal) in try pool.setAttached(true, 2) } == .notFound(2))
        try pool.remove(1)
        #expect(refusal { () throws(PoolRefusal) in try pool.setAttached(false, 1) } == .notFound(1))
        #expect(refusal { () throws(PoolRefusal) in try pool.remove(1) } == .notFound(1))
        #expect(pool.leftovers.allSatisfy { !$0.isAttached })
    }

    @Test func aNamespaceGrowsAndNeverShrinks() throws {
        var pool = try pool(1024, 1024)
        func grow(_ nsid: UInt32, _ blocks: UInt64) -> PoolRefusal? {
            refusal { () throws(PoolRefusal) in try pool.grow(nsid, blockCount: blocks, within: Self.limits) }
        }
        #expect(grow(1, 1023) == .cannotShrink(1, blockCount: 1024))
        #expect(grow(1, 1024) == nil, "nothing changes")
        #expect(grow(1, 1537) == .insufficientCapacity(needed: 513 * 4096, unallocated: 2 << 20))
        #expect(grow(1, .max) == .insufficientCapacity(needed: .max, unallocated: 2 << 20))
        #expect(grow(1, 1536) == nil)
        #expect(pool.namespaces.map(\.blockCount) == [1536, 1024])
        #expect(grow(3, 1) == .notFound(3))
        // Its blocks stay as large as they are.
        let limits = PoolLimits(capacity: 20 << 20, maxNamespaces: 4, blockSize: 512)
        #expect(refusal { () throws(PoolRefusal) in try pool.grow(2, blockCount: 2048, within: limits) } == nil)
        #expect(pool.namespaces[1].byteCount == 8 << 20)
    }

    @Test func contentsThatContradictThemselvesAreRefused() {
        func entry(_ nsid: UInt32, _ uuid: UInt64, blocks: UInt64 = 1) -> PoolContents.Entry {
            .init(
                PoolNamespace(
                    nsid: nsid, uuid: UUIDBytes(high: 1, low: uuid), blockCount: blocks, blockSize: 4096), .there)
        }
        for entries in [
            [entry(1, 1), entry(1, 2)], [entry(1, 1), entry(2, 1)], [entry(0, 1)], [entry(1, 1, blocks: 0)],
            [entry(1, 1, blocks: .max)], [entry(1, 1, blocks: 1 << 51)],
        ] {
            #expect(throws: TercetError.self) { try PoolContents(entries) }
        }
    }
}
