import AllocationProbe
import Base
import BlockInterface
import BlockLaws
import DurableFiles
import Glibc
import MemoryBlock
import Testing

@Suite("Devices in memory")
struct MemoryBlockTests {
    @Test("A RAM device keeps the laws", arguments: [512, 4096] as [UInt32])
    func ramLaws(blockSize: UInt32) throws {
        let seed = UInt64.random(in: .min ... .max)
        let device = try RAMDevice(byteCount: 8 << 20, blockSize: blockSize)
        #expect(checkBlockDeviceLaws(device, seed: seed) == [], "seed \(seed)")
    }

    @Test("A RAM device with a latency keeps the laws, takes its time, and lends nothing")
    func latency() throws {
        let device = try RAMDevice(byteCount: 8 << 20, latencyMicroseconds: 50)
        #expect(checkBlockDeviceLaws(device, seed: 5) == [])
        let slow = try RAMDevice(byteCount: 1 << 20, isPopulated: true, latencyMicroseconds: 2000)
        let driver = ChannelDriver(try slow.openChannel(depth: 1), byteCount: 512)
        let before = MonotonicTime.now()
        #expect(driver.run(.read, offset: 0, length: 512) == .success)
        #expect(MonotonicTime.now().nanoseconds(since: before) >= 2_000_000)
        #expect(driver.channel.borrow(offset: 0, length: 512) == nil)
    }

    @Test("A null device keeps the laws that need no memory", arguments: [512, 4096] as [UInt32])
    func nullLaws(blockSize: UInt32) throws {
        let seed = UInt64.random(in: .min ... .max)
        let device = try NullDevice(byteCount: 1 << 40, blockSize: blockSize)
        #expect(checkBlockDeviceLaws(device, keepsData: false, seed: seed) == [], "seed \(seed)")
    }

    @Test("A read from a null device leaves nothing of what the buffer held")
    func nullReadsZeroes() throws {
        let driver = ChannelDriver(try NullDevice(byteCount: 1 << 20).openChannel(depth: 1), byteCount: 4096)
        driver.fill(0..<4096, seed: 7)
        #expect(driver.run(.read, offset: 4096, length: 4096) == .success)
        #expect(driver.memory.allSatisfy { $0 == 0 })
        #expect(driver.run(.compare, offset: 0, length: 4096) == .success)
        driver.memory[4095] = 1
        #expect(driver.run(.compare, offset: 0, length: 4096) == .compareFailure)
    }

    @Test("A null device lends zeroes, however many loans there are, and whatever has been written")
    func nullLends() throws {
        let driver = ChannelDriver(try NullDevice(byteCount: 1 << 30).openChannel(depth: 1), byteCount: 4096)
        driver.fill(0..<4096, seed: 7)
        #expect(driver.run(.write, offset: 1 << 20, length: 4096) == .success)
        let lengths = [4096, 1 << 20, 2 << 20] as [UInt64]
        let loans = try lengths.map { try #require(driver.channel.borrow(offset: 1 << 20, length: $0)) }
        for (lent, length) in zip(loans, lengths) {
            let data = UnsafeRawBufferPointer(start: lent.start, count: Int(length))
            #expect(data.allSatisfy { $0 == 0 })
            let region = try #require(lent.region.baseAddress)
            #expect(region <= lent.start && lent.start + Int(length) <= region + lent.region.count)
            #expect(!driver.channel.isWanted(lent.start, length: length))
            driver.channel.giveBack(lent.start, length: length)
        }
        #expect(driver.channel.borrow(offset: 0, length: 4 << 20) == nil)
    }

    @Test("What is in the direct memory is what is read, and the other way round")
    func directMemory() throws {
        let device = try RAMDevice(byteCount: 1 << 20)
        let memory = try #require(device.directMemory)
        let driver = ChannelDriver(try device.openChannel(depth: 1), byteCount: 512)
        memory[1024] = 0xab
        #expect(driver.run(.read, offset: 1024, length: 512) == .success)
        #expect(driver.memory[0] == 0xab)
        driver.memory[1] = 0xcd
        #expect(driver.run(.write, offset: 1024, length: 512) == .success)
        #expect(memory[1025] == 0xcd)
    }

    @Test("A request that has not started can be cancelled, once")
    func cancel() throws {
        let device = try RAMDevice(byteCount: 1 << 20)
        let driver = ChannelDriver(try device.openChannel(depth: 4), byteCount: 1024)
        driver.fill(0..<1024, seed: 3)
        let requests = [1, 2].map { tag in
            BlockRequest(
                tag: tag, operation: .write, offset: tag * 512, length: 512, buffer: driver.memory.baseAddress)
        }
        #expect(driver.submit(requests) == 2)
        #expect(driver.channel.cancel(tag: 2))
        #expect(!driver.channel.cancel(tag: 2))
        #expect(driver.wait(for: 2)?.map(\.status) == [.success, .aborted])
        #expect(try #require(device.directMemory)[1024..<1536].allSatisfy { $0 == 0 })
    }

    @Test("A long range does not keep a poll from returning")
    func longRange() throws {
        let driver = ChannelDriver(try RAMDevice(byteCount: 64 << 20).openChannel(depth: 2), byteCount: 512)
        let request = BlockRequest(tag: 1, operation: .writeZeroes, offset: 0, length: 64 << 20)
        #expect(driver.submit([request]) == 1)
        #expect(driver.poll().isEmpty)
        // ... nor does a reactor that finds no completion sleep over the rest of it.
        driver.channel.armNotification()
        var watched = pollfd(fd: driver.channel.notificationDescriptor, events: Int16(POLLIN), revents: 0)
        #expect(poll(&watched, 1, 0) == 1)
        #expect(driver.wait(for: 1)?.map(\.status) == [.success])
        driver.channel.armNotification()
        #expect(poll(&watched, 1, 0) == 0)
    }

    /// Pages of a device's memory that the system has given.
    private func residentPages(_ device: RAMDevice) throws -> Int {
        let memory = try #require(device.directMemory)
        var pages = [UInt8](repeating: 0, count: memory.count / 4096)
        try #require(mincore(memory.baseAddress, memory.count, &pages) == 0)
        return pages.count { $0 & 1 != 0 }
    }

    @Test("Memory is taken as it is written to, or all of it at the start")
    func populated() throws {
        let sparse = try RAMDevice(byteCount: 8 << 20)
        #expect(try residentPages(sparse) == 0)
        let populated = try RAMDevice(byteCount: 8 << 20, isPopulated: true)
        #expect(try residentPages(populated) == 2048)
        #expect(populated.directMemory?.allSatisfy { $0 == 0 } == true)
        // Not a whole number of huge pages.
        let odd = try RAMDevice(byteCount: (3 << 20) + 4096, isPopulated: true)
        #expect(try residentPages(odd) == 769)
        // Reads go straight out of it from the first on.
        let channel = try populated.openChannel(depth: 1)
        let lent = try #require(channel.borrow(offset: 1 << 20, length: 4096))
        #expect(lent.start == populated.directMemory?.baseAddress.map { $0 + (1 << 20) })
        channel.giveBack(lent.start, length: 4096)
        #expect(try sparse.openChannel(depth: 1).borrow(offset: 1 << 20, length: 4096) == nil)
    }

    /// The kernel's marks of the mapping that holds a device's memory (proc_pid_smaps(5), VmFlags).
    private func mappingFlags(_ device: RAMDevice) throws -> [Substring] {
        let start = UInt(bitPattern: try #require(device.directMemory?.baseAddress))
        let text = String(decoding: try #require(try FileContents.read("/proc/self/smaps")), as: UTF8.self)
        var isHere = false
        for line in text.split(separator: "\n") {
            let ends = line.prefix { $0 != " " }.split(separator: "-").compactMap { UInt($0, radix: 16) }
            if ends.count == 2 { isHere = ends[0] <= start && start < ends[1] }
            if isHere, line.hasPrefix("VmFlags:") { return line.split(separator: " ") }
        }
        return []
    }

    /// How many of the huge pages that are set aside nobody has.
    private func freeHugePages() throws -> Int {
        let text = String(decoding: try #require(try FileContents.read("/proc/meminfo")), as: UTF8.self)
        let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("HugePages_Free:") })
        return try #require(line.split(separator: " ").last.flatMap { Int($0) })
    }

    @Test(
        "Sparse memory is not advised to be huge, and what is taken at the start is of huge pages, if enough are set aside"
    )
    func hugePages() throws {
        let sparse = try mappingFlags(try RAMDevice(byteCount: 8 << 20))
        #expect(sparse.contains("rd") && !sparse.contains("hg") && !sparse.contains("ht"))
        let areEnough = try freeHugePages() >= 4
        let populated = try mappingFlags(try RAMDevice(byteCount: 8 << 20, isPopulated: true))
        #expect(populated.contains("rd") && populated.contains("ht") == areEnough)
    }

    @Test("More memory than the machine has is remarked on")
    func remarks() throws {
        #expect(try RAMDevice(byteCount: 1 << 20).remarks.isEmpty)
        let large = try RAMDevice(byteCount: 1 << 44, name: "ram:16T")
        #expect(large.remarks.count == 1)
        #expect(large.remarks.first?.hasPrefix("ram:16T: is larger than this machine's memory of ") == true)
    }

    @Test("A wrong size is refused in one line")
    func refusals() {
        #expect(throws: TercetError.self) { try RAMDevice(byteCount: 1000) }
        #expect(
            message { () throws(TercetError) in _ = try RAMDevice(byteCount: 1000, name: "ram:1000") }
                == "ram:1000: its size of 1000 bytes is no multiple of the block size of 512 bytes")
        #expect(
            message { () throws(TercetError) in _ = try NullDevice(byteCount: 4096, blockSize: 1000, name: "n") }
                == "n: a block size of 1000 bytes is not possible; a power of two from 512 to 65536 is")
        #expect(
            message { () throws(TercetError) in _ = try NullDevice(byteCount: 0, name: "n") }
                == "n: a size of 0 bytes is not possible")
    }

    @Test("Reading and writing allocate nothing")
    func noAllocations() throws {
        try #require(allocationProbeIsActive())
        let driver = ChannelDriver(try RAMDevice(byteCount: 1 << 20).openChannel(depth: 32), byteCount: 32 * 4096)
        let counted = allocationsOf(driver, rounds: 100, batch: 32)
        #expect(counted.ended == 3200)
        #expect(counted.allocations == 0)
    }

    private func message(_ body: () throws(TercetError) -> Void) -> String? {
        do throws(TercetError) {
            try body()
            return nil
        } catch {
            return error.description
        }
    }
}
