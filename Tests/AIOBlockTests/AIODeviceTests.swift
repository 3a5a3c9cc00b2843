import AIOBlock
import AllocationProbe
import Base
import BlockInterface
import BlockLaws
import Glibc
import Testing

@Suite("Files and block devices through libaio")
struct AIODeviceTests {
    @Test("A file keeps the laws, with small and large blocks", arguments: [nil, 512, 4096, 65536] as [UInt32?])
    func fileLaws(blockSize: UInt32?) throws {
        let file = try TemporaryFile(byteCount: 8 << 20)
        let device = try AIODevice(path: file.path, options: AIODeviceOptions(blockSize: blockSize))
        #expect(device.geometry.blockSize == blockSize ?? 512)
        let seed = UInt64.random(in: .min ... .max)
        #expect(checkBlockDeviceLaws(device, seed: seed) == [], "seed \(seed)")
    }

    @Test("A file keeps the laws when each request is cut into small transfers")
    func cutTransfers() throws {
        let file = try TemporaryFile(byteCount: 8 << 20)
        let device = try AIODevice(path: file.path, options: AIODeviceOptions(maximumTransfer: 4096))
        let seed = UInt64.random(in: .min ... .max)
        #expect(checkBlockDeviceLaws(device, seed: seed) == [], "seed \(seed)")
    }

    @Test(
        "A file keeps the laws by the ways that are for systems which lack something",
        arguments: [.systemCallForCompletions, .flushInWorker, .noFallocate] as [Detours])
    func detours(_ detours: Detours) throws {
        let file = try TemporaryFile(byteCount: 8 << 20)
        var options = AIODeviceOptions()
        options.detours = detours
        let device = try AIODevice(path: file.path, options: options)
        #expect(device.geometry.canDeallocate == !detours.contains(.noFallocate))
        let seed = UInt64.random(in: .min ... .max)
        #expect(checkBlockDeviceLaws(device, seed: seed) == [], "seed \(seed)")
    }

    @Test("A file keeps the laws through the page cache", arguments: ["/var/tmp", "/dev/shm"])
    func bufferedLaws(folder: String) throws {
        let file = try TemporaryFile(byteCount: 8 << 20, folder: folder)
        let device = try AIODevice(path: file.path, options: AIODeviceOptions(buffered: true))
        #expect(!device.isDirect)
        #expect(device.remarks == [])
        let seed = UInt64.random(in: .min ... .max)
        #expect(checkBlockDeviceLaws(device, seed: seed) == [], "seed \(seed)")
    }

    @Test(
        "A block device keeps the laws and tells its own block size",
        .enabled(if: LoopDevice.isPossible, "needs losetup"),
        arguments: [512, 4096])
    func blockDeviceLaws(blockSize: Int) throws {
        let loop = try LoopDevice(byteCount: 8 << 20, blockSize: blockSize)
        let device = try AIODevice(path: loop.path)
        #expect(device.isDirect)
        #expect(device.geometry.blockSize == UInt32(blockSize))
        #expect(device.geometry.byteCount == 8 << 20)
        #expect(device.identity == BlockIdentity())
        let seed = UInt64.random(in: .min ... .max)
        #expect(checkBlockDeviceLaws(device, seed: seed) == [], "seed \(seed)")
        let other = UInt32(blockSize == 512 ? 4096 : 512)
        #expect(
            refusal(loop.path, AIODeviceOptions(blockSize: other))?.hasSuffix(
                "the device is in use (mounted, or part of another device)")
                == true)
    }

    @Test("A block device's size follows the device", .enabled(if: LoopDevice.isPossible, "needs losetup"))
    func blockDeviceGrows() throws {
        let loop = try LoopDevice(byteCount: 4 << 20, blockSize: 512)
        let device = try AIODevice(path: loop.path)
        let driver = ChannelDriver(try device.openChannel(depth: 1), byteCount: 512)
        #expect(driver.run(.write, offset: 4 << 20, length: 512) == .outOfRange)
        try loop.file.resize(6 << 20)
        try loop.takeNewSize()
        #expect(device.refresh() == .resized)
        #expect(device.geometry.byteCount == 6 << 20)
        #expect(driver.run(.write, offset: 4 << 20, length: 512) == .success)
        #expect(
            refusal(loop.path, AIODeviceOptions(blockSize: 4096, readOnly: true))
                == "\(loop.path): has blocks of 512 bytes, which cannot be changed to 4096; leave it out")
    }

    @Test("Where a file system refuses O_DIRECT the page cache is used, and that is said")
    func tmpfsFallback() throws {
        let file = try TemporaryFile(byteCount: 4 << 20, folder: "/dev/shm")
        let device = try AIODevice(path: file.path)
        // Newer kernels allow O_DIRECT on tmpfs.
        #expect(device.remarks.isEmpty == device.isDirect)
        for remark in device.remarks { #expect(remark.hasPrefix("\(file.path): its file system refuses O_DIRECT")) }
        let seed = UInt64.random(in: .min ... .max)
        #expect(checkBlockDeviceLaws(device, seed: seed) == [], "seed \(seed)")
    }

    @Test("What is written is in the file")
    func contents() throws {
        let file = try TemporaryFile(byteCount: 1 << 20)
        let driver = ChannelDriver(try AIODevice(path: file.path).openChannel(depth: 1), byteCount: 4096)
        driver.fill(0..<4096, seed: 9)
        #expect(driver.run(.write, .forceUnitAccess, offset: 8192, length: 4096) == .success)
        let stream = try #require(fopen(file.path, "r"))
        defer { fclose(stream) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        fseek(stream, 8192, SEEK_SET)
        #expect(fread(&bytes, 1, 4096, stream) == 4096)
        #expect(driver.memory.elementsEqual(bytes))
    }

    @Test("A file that is read-only takes no write")
    func readOnly() throws {
        let file = try TemporaryFile(byteCount: 1 << 20)
        let device = try AIODevice(path: file.path, options: AIODeviceOptions(readOnly: true))
        #expect(device.geometry.isReadOnly)
        #expect(!device.geometry.canDeallocate)
        let driver = ChannelDriver(try device.openChannel(depth: 1), byteCount: 4096)
        #expect(driver.run(.read, length: 4096) == .success)
        #expect(driver.run(.flush) == .success)
        for operation in [.write, .writeZeroes, .deallocate] as [BlockOperation] {
            #expect(driver.run(operation, length: 4096) == .writeProtected)
        }
    }

    @Test("A file that grows or shrinks is noticed, and reads past a new end fail")
    func resize() throws {
        let file = try TemporaryFile(byteCount: 1 << 20)
        let device = try AIODevice(path: file.path)
        let driver = ChannelDriver(try device.openChannel(depth: 2), byteCount: 8192)
        try file.resize(2 << 20)
        #expect(device.refresh() == .resized)
        #expect(device.geometry.byteCount == 2 << 20)
        #expect(driver.run(.write, offset: (2 << 20) - 4096, length: 4096) == .success)
        // The device has not been refreshed yet, so that the kernel finds the end.
        try file.resize(4096 + 512)
        #expect(driver.run(.read, offset: 1 << 20, length: 4096) == .outOfRange)
        #expect(driver.run(.read, offset: 4096, length: 4096) == .outOfRange)
        #expect(driver.run(.verify, offset: 0, length: 1 << 20) == .outOfRange)
        #expect(driver.run(.read, offset: 0, length: 4096) == .success)
        #expect(device.refresh() == .resized)
        #expect(device.geometry.blockCount == 9)
        #expect(device.refresh() == .unchanged)
    }

    @Test("A deleted file is gone, once noticed for good")
    func deleted() throws {
        let file = try TemporaryFile(byteCount: 1 << 20)
        let device = try AIODevice(path: file.path)
        let driver = ChannelDriver(try device.openChannel(depth: 1), byteCount: 4096)
        #expect(unlink(file.path) == 0)
        #expect(device.refresh() == .vanished)
        #expect(device.refresh() == .vanished)
        for operation in [.read, .write, .flush, .writeZeroes, .deallocate, .compare, .verify] as [BlockOperation] {
            #expect(driver.run(operation, length: 4096) == .deviceGone)
        }
    }

    @Test("Comparisons that wait can be cancelled, what the kernel has cannot")
    func cancel() throws {
        let file = try TemporaryFile(byteCount: 1 << 20)
        let device = try AIODevice(path: file.path)
        let driver = ChannelDriver(try device.openChannel(depth: 16), byteCount: 4096)
        let requests = (1...9).map { tag in
            BlockRequest(tag: UInt64(tag), operation: .compare, length: 4096, buffer: driver.memory.baseAddress)
        }
        #expect(driver.submit(requests) == 9)
        #expect(!driver.channel.cancel(tag: 1))
        #expect(driver.channel.cancel(tag: 9))
        #expect(!driver.channel.cancel(tag: 9))
        let ended = try #require(driver.wait(for: 9)).sorted { $0.tag < $1.tag }
        #expect(ended.map(\.status) == Array(repeating: .success, count: 8) + [.aborted])
    }

    @Test("A channel may close while the worker still has its jobs")
    func closeWithJobs() throws {
        let file = try TemporaryFile(byteCount: 64 << 20)
        let device = try AIODevice(path: file.path)
        for _ in 0..<20 {
            let channel = try device.openChannel(depth: 8)
            let requests = (0..<8).map { tag in
                BlockRequest(tag: UInt64(tag), operation: .writeZeroes, offset: UInt64(tag) << 20, length: 1 << 20)
            }
            #expect(requests.withUnsafeBufferPointer { channel.submit($0) } == 8)
            channel.close()
        }
    }

    @Test("Reading and writing allocate nothing")
    func noAllocations() throws {
        try #require(allocationProbeIsActive())
        let file = try TemporaryFile(byteCount: 1 << 20)
        let device = try AIODevice(path: file.path)
        let driver = ChannelDriver(try device.openChannel(depth: 32), byteCount: 32 * 4096)
        let counted = allocationsOf(driver, rounds: 20, batch: 32)
        #expect(counted.ended == 640)
        #expect(counted.allocations == 0)
    }

    @Test("Depths that the system has no room for are refused in words")
    func depths() throws {
        let file = try TemporaryFile(byteCount: 1 << 20)
        let device = try AIODevice(path: file.path)
        #expect(throws: TercetError.self) { try device.openChannel(depth: 0) }
        #expect(throws: TercetError.self) { try device.openChannel(depth: 40000) }
    }
}

/// The refusal to open a path, or `nil` if it is opened.
func refusal(_ path: String, _ options: AIODeviceOptions = AIODeviceOptions()) -> String? {
    do throws(TercetError) {
        _ = try AIODevice(path: path, options: options)
        return nil
    } catch {
        return error.description
    }
}
