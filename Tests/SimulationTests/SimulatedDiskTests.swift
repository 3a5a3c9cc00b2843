import Base
import BlockInterface
import BlockLaws
import Simulation
import Testing

@Suite struct SimulatedDiskTests {
    private func disk(_ seed: UInt64) -> SimulatedDisk {
        let disk = SimulatedDisk("disk0", network: SimulatedNetwork(seed: seed), blockSize: 4096, blockCount: 4096)
        disk.behaviour.latency = 0...0
        return disk
    }

    @Test func keepsTheLaws() {
        #expect(checkBlockDeviceLaws(disk(1), seed: 7) == [])
    }

    @Test func powerLossKeepsWhatWasFlushedAndAnyPartOfTheRest() throws {
        var kept: Set<Int> = []
        for seed in UInt64(1)...20 {
            let disk = disk(seed)
            let driver = ChannelDriver(try disk.openChannel(depth: 4), byteCount: 65536)
            driver.fill(0..<65536, seed: 1)
            #expect(driver.run(.write, offset: 0, length: 32768) == .success)
            #expect(driver.run(.flush) == .success)
            #expect(driver.run(.write, offset: 32768, length: 32768, at: 32768) == .success)
            disk.losePower()
            let after = ChannelDriver(try disk.openChannel(depth: 4), byteCount: 65536)
            #expect(after.run(.read, offset: 0, length: 65536) == .success)
            #expect(after.memory[..<32768].elementsEqual(driver.memory[..<32768]), "flushed, seed \(seed)")
            var blocks = 0
            for block in 8..<16 {
                let bytes = after.memory[block * 4096..<(block + 1) * 4096]
                let isKept = bytes.elementsEqual(driver.memory[block * 4096..<(block + 1) * 4096])
                #expect(isKept || bytes.allSatisfy { $0 == 0 }, "a block is old or new, seed \(seed)")
                if isKept { blocks += 1 }
            }
            kept.insert(blocks)
        }
        #expect(kept.count > 2, "different seeds lose different blocks: \(kept)")
    }

    /// Data that left the cache before it was overwritten is neither the newest content nor the one that was flushed.
    @Test func powerLossKeepsContentsThatWereOverwritten() throws {
        var found: Set<UInt8> = []
        for seed in UInt64(1)...40 {
            let disk = disk(seed)
            disk.behaviour.destagedPercent = 50
            let driver = ChannelDriver(try disk.openChannel(depth: 4), byteCount: 3 * 4096)
            for content in UInt8(1)...3 {
                let offset = Int(content - 1) * 4096
                for place in offset..<offset + 4096 { driver.memory[place] = content }
                #expect(driver.run(.write, offset: 0, length: 4096, at: offset) == .success)
            }
            disk.losePower()
            found.insert(disk.contents[0])
            #expect(disk.contents[..<4096].allSatisfy { $0 == disk.contents[0] }, "seed \(seed)")
        }
        #expect(found == [0, 1, 2, 3])
    }

    @Test func failingWritesLeaveAPart() throws {
        var kept: Set<Int> = []
        for seed in UInt64(1)...20 {
            let disk = disk(seed)
            let driver = ChannelDriver(try disk.openChannel(depth: 4), byteCount: 8 * 4096)
            for place in 0..<8 * 4096 { driver.memory[place] = 1 }
            disk.behaviour.failingWrites = 3..<4
            #expect(driver.run(.write, offset: 0, length: 8 * 4096) == .writeFault)
            disk.behaviour.failingWrites = 0..<0
            var blocks = 0
            for block in 0..<8 {
                let bytes = disk.contents[block * 4096..<(block + 1) * 4096]
                #expect(Set(bytes).count == 1, "a block is old or new, seed \(seed)")
                if bytes.first == 1 { blocks += 1 }
            }
            kept.insert(blocks)
        }
        #expect(kept.count > 2, "different seeds leave different blocks: \(kept)")
    }

    @Test func operationsEndWhenTheirTimeHasCome() throws {
        let disk = disk(3)
        disk.behaviour.latency = 5_000...5_000
        let driver = ChannelDriver(try disk.openChannel(depth: 4), byteCount: 4096)
        #expect(driver.submit([BlockRequest(tag: 1, operation: .flush)]) == 1)
        #expect(driver.poll().isEmpty)
        disk.network.runUntilIdle()
        #expect(driver.poll().map(\.status) == [.success])
        disk.makeUnreadable(3)
        disk.behaviour.latency = 0...0
        #expect(driver.run(.read, offset: 3 * 4096, length: 4096) == .unrecoveredReadError)
        #expect(driver.run(.write, offset: 3 * 4096, length: 4096) == .success)
        #expect(driver.run(.read, offset: 3 * 4096, length: 4096) == .success)
        disk.vanish()
        #expect(driver.run(.read, offset: 0, length: 4096) == .deviceGone)
        #expect(disk.refresh() == .vanished)
    }

    /// Contents of a block after a write of each value and, where a flush was under way, what is on the media at its end.
    private func block(_ value: UInt8, of driver: ChannelDriver, at place: Int) -> Int {
        for byte in place..<place + 4096 { driver.memory[byte] = value }
        return place
    }

    /// A flush covers what had completed before it was submitted, whatever overwrites it while the flush runs, and nothing that
    /// completes meanwhile (NVM Command Set, "Flush command").
    @Test func aStrictFlushCoversWhatHadCompleted() throws {
        var lost = 0
        for seed in UInt64(1)...40 {
            let disk = disk(seed)
            disk.behaviour.flushIsStrict = true
            let driver = ChannelDriver(try disk.openChannel(depth: 4), byteCount: 3 * 4096)
            #expect(driver.run(.write, offset: 0, length: 4096, at: block(1, of: driver, at: 0)) == .success)
            disk.behaviour.latency = 1000...1000
            #expect(driver.submit([BlockRequest(tag: 99, operation: .flush)]) == 1)
            disk.behaviour.latency = 0...0
            #expect(driver.run(.write, offset: 0, length: 4096, at: block(2, of: driver, at: 4096)) == .success)
            #expect(driver.run(.write, offset: 4096, length: 4096, at: block(3, of: driver, at: 8192)) == .success)
            disk.network.run(until: disk.network.now.advanced(byNanoseconds: 1000))
            #expect(driver.poll().map(\.status) == [.success])
            disk.losePower()
            #expect([1, 2].contains(disk.contents[0]), "what the flush covered, or what overwrote it, seed \(seed)")
            #expect([0, 3].contains(disk.contents[4096]))
            if disk.contents[4096] == 0 { lost += 1 }
        }
        #expect(lost > 5, "the flush does not cover what completed while it ran")
    }

    /// A flush that failed has what it should have covered go with the power, though later flushes succeed (Linux's page cache).
    @Test func aFlushThatFailedIsForgotten() throws {
        for (left, content) in [(SimulatedDiskBehaviour.FailedFlush.forgotten, UInt8(0)), (.kept, 1)] {
            let disk = disk(1)
            let driver = ChannelDriver(try disk.openChannel(depth: 4), byteCount: 4096)
            #expect(driver.run(.write, offset: 0, length: 4096, at: block(1, of: driver, at: 0)) == .success)
            disk.behaviour.failedFlush = left
            #expect(driver.run(.flush) == .writeFault)
            disk.behaviour.failedFlush = nil
            #expect(driver.run(.flush) == .success)
            #expect(disk.contents[0] == 1, "it is read until the power goes")
            disk.losePower()
            #expect(disk.contents[0] == content)
        }
    }

    @Test func metadataTearsWithinABlock() throws {
        var found: Set<Int> = []
        for seed in UInt64(1)...60 {
            let disk = disk(seed)
            disk.behaviour.tearing = 0..<1
            let driver = ChannelDriver(try disk.openChannel(depth: 4), byteCount: 4096)
            #expect(driver.run(.write, offset: 0, length: 4096, at: block(1, of: driver, at: 0)) == .success)
            disk.losePower()
            let kept = disk.contents[..<4096].count { $0 == 1 }
            #expect(disk.contents[..<kept].allSatisfy { $0 == 1 }, "the first part of it is there, seed \(seed)")
            found.insert(kept)
        }
        #expect(found.contains(0) && found.contains(4096) && found.count > 5)
    }

    @Test func readsGoAstray() throws {
        let disk = disk(1)
        let driver = ChannelDriver(try disk.openChannel(depth: 4), byteCount: 4 * 4096)
        #expect(driver.run(.write, offset: 0, length: 4096, at: block(1, of: driver, at: 0)) == .success)
        #expect(driver.run(.flush) == .success)
        #expect(driver.run(.write, offset: 0, length: 4096, at: block(2, of: driver, at: 0)) == .success)
        #expect(driver.run(.write, offset: 4096, length: 4096, at: block(3, of: driver, at: 0)) == .success)
        func read() throws -> UInt8 {
            #expect(driver.run(.read, offset: 0, length: 4096, at: 8192) == .success)
            return driver.memory[8192]
        }
        #expect(try read() == 2)
        disk.behaviour.misreading = 0..<1
        #expect(try read() == 1, "as it was on the media")
        disk.behaviour.misreadDistance = 1
        #expect(try read() == 3, "from beside")
    }
}
