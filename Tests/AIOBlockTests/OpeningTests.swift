import AIOBlock
import Base
import BlockInterface
import CLinux
import Glibc
import Testing

@Suite("Opening a path")
struct OpeningTests {
    @Test("What cannot be opened is refused in one line that says why")
    func refusals() throws {
        #expect(refusal("/nonexistent/disk.img") == "/nonexistent/disk.img: there is no such file or device")
        #expect(refusal("/tmp") == "/tmp: is a directory; a block device or a regular file is needed")
        #expect(refusal("/dev/null") == "/dev/null: is neither a block device nor a regular file")
        let empty = try TemporaryFile(byteCount: 0)
        #expect(
            refusal(empty.path)
                == "\(empty.path): the file is empty; give it a size first (truncate -s 64M \(empty.path))")
        let odd = try TemporaryFile(byteCount: 10_000)
        #expect(
            refusal(odd.path) == "\(odd.path): its size of 10000 bytes is no multiple of the block size of 512 bytes")
        let file = try TemporaryFile(byteCount: 512 * 9)
        #expect(
            refusal(file.path, AIODeviceOptions(blockSize: 4096))
                == "\(file.path): its size of 4608 bytes is no multiple of the block size of 4096 bytes")
        #expect(
            refusal(file.path, AIODeviceOptions(blockSize: 1000))
                == "\(file.path): a block size of 1000 bytes is not possible; a power of two from 512 to 65536 is"
        )
    }

    @Test("A path without permission is refused")
    func permission() throws {
        let file = try TemporaryFile(byteCount: 4096)
        #expect(chmod(file.path, 0o000) == 0)
        // Root may open everything; this thread's file access is another user's for a moment.
        let before = geteuid() == 0 ? tercet_set_file_user(65534) : -1
        let message = refusal(file.path)
        if before >= 0 { _ = tercet_set_file_user(UInt32(before)) }
        #expect(message == "\(file.path): no permission to open it")
    }

    @Test("A file is written by one device at a time, and may be read by several")
    func lock() throws {
        let file = try TemporaryFile(byteCount: 1 << 20)
        var first: AIODevice? = try AIODevice(path: file.path)
        #expect(first?.geometry.byteCount == 1 << 20)
        #expect(refusal(file.path) == "\(file.path): is in use already (its lock is held)")
        do throws(TercetError) { _ = try AIODevice(path: file.path) } catch { #expect(error.code == .inUse) }
        first = nil
        let reader = try AIODevice(path: file.path, options: AIODeviceOptions(readOnly: true))
        #expect(refusal(file.path, AIODeviceOptions(readOnly: true)) == nil)
        #expect(refusal(file.path) != nil)
        #expect(reader.refresh() == .unchanged)
    }

    @Test("A closed device's file is free, even while a forked process has a copy of the descriptor")
    func copiedDescriptor() throws {
        let file = try TemporaryFile(byteCount: 1 << 20)
        var device: AIODevice? = try AIODevice(path: file.path)
        #expect(device?.name == file.path)
        // A descriptor made by dup stands for the same open file as one that fork has copied.
        let copies = (3..<4096).filter { descriptorPath(Int32($0)) == file.path }.map { dup(Int32($0)) }
        defer { for copy in copies { close(copy) } }
        #expect(!copies.isEmpty && copies.allSatisfy { $0 >= 0 })
        device = nil
        #expect(refusal(file.path) == nil)
    }

    /// The path of what a descriptor of this process has open; `nil` for one that is not open.
    private func descriptorPath(_ descriptor: Int32) -> String? {
        var path = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/fd/\(descriptor)", &path, path.count)
        return count > 0 ? String(decoding: path[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self) : nil
    }

    @Test("Opening and closing leaves the number of descriptors where it was")
    func descriptors() throws {
        let file = try TemporaryFile(byteCount: 1 << 20)
        func open() -> Int { (0..<16384).count { fcntl($0, F_GETFD) >= 0 } }
        let before = open()
        for _ in 0..<400 {
            let device = try AIODevice(path: file.path)
            for _ in 0..<4 { try device.openChannel(depth: 4).close() }
        }
        // Each round opens 13 descriptors, 5,200 in all; other tests, which run beside this one, have hundreds too.
        #expect(open() < before + 1000)
    }
}

@Suite("What sysfs says of a device")
final class SysfsTests {
    private var files: [String] = []

    deinit {
        // Files come after the folders that they are in.
        for path in files.reversed() where unlink(path) != 0 { rmdir(path) }
    }

    /// A folder with attributes as the kernel writes them.
    private func device(_ attributes: [String: String]) throws -> SysfsBlockDevice {
        var template = Array("/var/tmp/tercet-sysfs-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw TestError("mkdtemp") }
        let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        mkdir("\(folder)/queue", 0o700)
        files += [folder, "\(folder)/queue"]
        for (name, text) in attributes {
            guard let stream = fopen("\(folder)/\(name)", "w") else { throw TestError(name) }
            fputs(text, stream)
            fclose(stream)
            files.append("\(folder)/\(name)")
        }
        return SysfsBlockDevice(folder: folder)
    }

    private let nguid: [UInt8] = (0x10...0x1f).map { $0 }
    private let uuid: [UInt8] = (0xa0...0xaf).map { $0 }

    @Test("An NVMe namespace's identifiers are read in the forms in which the driver writes them")
    func identifiers() throws {
        let sysfs = try device([
            "nguid": "10111213-1415-1617-1819-1a1b1c1d1e1f\n", "eui": "01 23 45 67 89 ab cd ef\n",
            "uuid": "a0a1a2a3-a4a5-a6a7-a8a9-aaabacadaeaf\n", "wwid": "uuid.a0a1a2a3-a4a5-a6a7-a8a9-aaabacadaeaf\n",
        ])
        #expect(
            sysfs.identity
                == BlockIdentity(nguid: nguid, eui64: [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef], uuid: uuid))
    }

    @Test("The NGUID that stands in for a missing UUID is not taken for one")
    func uuidStandIn() throws {
        let text = "10111213-1415-1617-1819-1a1b1c1d1e1f\n"
        #expect(try device(["nguid": text, "uuid": text]).identity == BlockIdentity(nguid: nguid))
    }

    @Test("Identifiers are taken from `wwid` where there are no others")
    func wwid() throws {
        #expect(
            try device(["wwid": "eui.0123456789abcdef\n"]).identity
                == BlockIdentity(eui64: [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]))
        #expect(
            try device(["wwid": "eui.101112131415161718191a1b1c1d1e1f\n"]).identity == BlockIdentity(nguid: nguid))
        #expect(
            try device(["wwid": "nvme.1b36-73657269616c-51454d55204e564d65204374726c-00000001\n"]).identity
                == BlockIdentity())
    }

    @Test("Zeroes, partitions and nonsense identify nothing")
    func nothing() throws {
        let zero = "00000000-0000-0000-0000-000000000000\n"
        #expect(try device(["nguid": zero, "eui": "00 00 00 00 00 00 00 00\n"]).identity == BlockIdentity())
        #expect(
            try device(["partition": "1\n", "uuid": "a0a1a2a3-a4a5-a6a7-a8a9-aaabacadaeaf\n"]).identity
                == BlockIdentity())
        #expect(try device(["uuid": "what?\n", "wwid": "uuid.\n"]).identity == BlockIdentity())
        #expect(SysfsBlockDevice(folder: "/nonexistent").identity == BlockIdentity())
    }

    @Test("Cache and discard are as the queue says, and a cache is assumed where it says nothing")
    func queue() throws {
        #expect(try device(["queue/write_cache": "write back\n"]).hasVolatileWriteCache)
        #expect(try !device(["queue/write_cache": "write through\n"]).hasVolatileWriteCache)
        #expect(try device([:]).hasVolatileWriteCache)
        #expect(try device(["queue/discard_max_bytes": "2199023255040\n"]).canDiscard)
        #expect(try !device(["queue/discard_max_bytes": "0\n"]).canDiscard)
    }

    @Test(
        "System errors become the statuses that a host is told",
        arguments: [
            (EIO, .read, .unrecoveredReadError), (EIO, .write, .writeFault), (EIO, .compare, .unrecoveredReadError),
            (ENODATA, .read, .unrecoveredReadError), (ENOSPC, .write, .capacityExceeded), (ENODEV, .read, .deviceGone),
            (ENXIO, .flush, .deviceGone), (EOPNOTSUPP, .writeZeroes, .unsupported), (EBADF, .write, .writeProtected),
            (EINVAL, .read, .internalError),
        ] as [(Int32, BlockOperation, BlockStatus)])
    func statuses(code: Int32, operation: BlockOperation, status: BlockStatus) {
        #expect(BlockStatus(errno: code, operation: operation) == status)
    }
}
