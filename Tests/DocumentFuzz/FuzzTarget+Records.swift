import Base
import FabricsConfiguration
import Foundation
import Fuzzing
import Glibc
import NBDOverTCP
import Replication
import VolumeDriver
import VolumeRegistry

/// Records that a registry or a member keeps, and files of keys and connections.
extension FuzzTarget {
    static let volumeEntry = FuzzTarget(name: "VolumeEntry", seeds: [entrySeed], inputs: 5000) { bytes in
        guard let entry = try? VolumeEntry(text: Data(bytes), name: "db") else { return }
        // An entry that is taken may be longer than one that may be written.
        guard let text = try? entry.text() else { return }
        let again = try? VolumeEntry(text: Data(text.utf8), name: "db")
        invariant(again == entry, "an entry that is written is read as it was")
    }

    private static let entrySeed: [UInt8] = {
        var members: [VolumeEntry.Member] = []
        for place in 1...3 {
            guard let member = MemberAddress("192.0.2.\(place):4420/nqn.2026-11.io.example:a/1") else { return [] }
            members.append(VolumeEntry.Member(member))
        }
        let entry = VolumeEntry(
            name: "db", uuid: UUIDBytes(high: 1, low: 2), state: .ready, size: 1 << 30, members: members,
            regionSize: 1 << 20)
        return ((try? entry.text()) ?? "").utf8.map { $0 }
    }()

    static let daemonRecord = FuzzTarget(
        name: "DaemonRecord", seeds: [Array(#"{"name":"a","place":1,"volumes":["db","log"]}"#.utf8)], inputs: 5000
    ) { bytes in
        guard let record = DaemonRecord(text: Data(bytes)), let text = try? record.text() else { return }
        invariant(DaemonRecord(text: Data(text.utf8)) == record, "a record that is written is read as it was")
    }

    static let connectionFile = FuzzTarget(
        name: "FabricsConfiguration",
        seeds: [
            Array(
                """
                [Host]
                hostnqn = nqn.2026-11.io.example:host
                [Subsystem]
                nqn = nqn.2026-11.io.example:a
                controller = transport=rdma;traddr=192.0.2.1;trsvcid=4420
                """.utf8)
        ], inputs: 2000
    ) { bytes in
        inFile(bytes) { path in
            guard let file = try? FabricsConfiguration(path: path) else { return }
            _ = try? file.address(of: "nqn.2026-11.io.example:a")
        }
    }

    static let keyFile = FuzzTarget(
        name: "PreSharedKeys", seeds: [Array("# keys\nalice:00112233445566778899aabbccddeeff\n".utf8)], inputs: 2000
    ) { bytes in
        inFile(bytes) { _ = try? PreSharedKeys(contentsOf: $0) }
    }

    /// Has the bytes read from a file, which nobody else may read.
    private static func inFile(_ bytes: UnsafeRawBufferPointer, _ body: (String) -> Void) {
        var name = Array("\(NSTemporaryDirectory())/tercet-fuzzed-XXXXXX".utf8CString)
        let descriptor = mkstemp(&name)
        invariant(descriptor >= 0, "there is a folder for temporary files")
        defer { close(descriptor) }
        unlink(name)
        invariant(write(descriptor, bytes.baseAddress, bytes.count) == bytes.count, "a file takes what is written")
        body("/proc/self/fd/\(descriptor)")
    }

    // MARK: Members

    /// A slot whose checksum is right: what is in it is looked at. Bytes 12 to 15 have the CRC32C of the page with themselves zero.
    static let superblock = FuzzTarget(name: "Superblock", seeds: superblockSeeds, inputs: 20_000) { bytes in
        guard bytes.count >= 4096 else { return }
        let page = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
        defer { page.deallocate() }
        page.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<4096]))
        page.storeBytes(of: 0, toByteOffset: 12, as: UInt32.self)
        page.storeBytes(of: crc32c(UnsafeRawBufferPointer(page)).littleEndian, toByteOffset: 12, as: UInt32.self)
        let empty = [UInt8](repeating: 0, count: 4096)
        empty.withUnsafeBytes { empty in
            guard let record = try? Superblock.decode(member: 0, slot0: UnsafeRawBufferPointer(page), slot1: empty)
            else {
                return
            }
            // Accepted, it can be checked against any member, and written again.
            try? record.validate(as: 0, volume: record.volume, blockSize: 4096, memberBlocks: 1 << 20)
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: record.geometry.pageSize, alignment: 4096)
            defer { copy.deallocate() }
            record.encode(into: copy)
            let again = try? Superblock.decode(member: 0, slot0: UnsafeRawBufferPointer(copy), slot1: empty)
            invariant(again == record, "a superblock that is written is read as it was")
        }
    }

    private static let superblockSeeds: [[UInt8]] = {
        guard let geometry = try? VolumeGeometry(blockSize: 4096, regionSize: 1 << 20, dataBlocks: 1 << 16) else {
            return []
        }
        let members = (0..<3).map { UUIDBytes(high: 1, low: $0) }.map {
            MemberRecord(uuid: $0, blocks: 1 << 17, bootInstance: 1, state: .inSync, behindSinceEpoch: 0)
        }
        let record = Superblock(
            sequence: 7, volume: UUIDBytes(high: 3, low: 4), member: 0, geometry: geometry, fencing: .reservations,
            minimumCopies: 2, isClean: true, grace: nil, stamp: RecordStamp(attachmentKey: 1 << 32, version: 3),
            members: members, quarantine: [5, 9], contents: .written)
        let page = UnsafeMutableRawBufferPointer.allocate(byteCount: geometry.pageSize, alignment: 4096)
        defer { page.deallocate() }
        record.encode(into: page)
        return [Array(page)]
    }()

    static let bitmapPage = FuzzTarget(name: "BitmapPage", seeds: [bitmapSeed], inputs: 20_000) { bytes in
        guard bytes.count >= 512 else { return }
        let page = UnsafeMutableRawBufferPointer.allocate(byteCount: 512, alignment: 512)
        defer { page.deallocate() }
        page.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<512]))
        let isIntact = BitmapPage.isIntact(page, volume: UUIDBytes(high: 3, low: 4), kind: 1, number: 2)
        invariant(page.elementsEqual(bytes[..<512]), "a look at a page leaves it as it is")
        invariant(!isIntact || bytes.starts(with: bitmapSeed[..<4]), "an intact page has its mark")
    }

    private static let bitmapSeed: [UInt8] = {
        let page = UnsafeMutableRawBufferPointer.allocate(byteCount: 512, alignment: 512)
        defer { page.deallocate() }
        page.initializeMemory(as: UInt8.self, repeating: 0)
        BitmapPage.seal(page, volume: UUIDBytes(high: 3, low: 4), sequence: 9, kind: 1, number: 2)
        return Array(page)
    }()

    /// CRC32C, bit by bit (RFC 3720, appendix B.4; reflected, polynomial 82F63B78h).
    private static func crc32c(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        var remainder = UInt32.max
        for byte in bytes {
            remainder ^= UInt32(byte)
            for _ in 0..<8 { remainder = remainder >> 1 ^ (remainder & 1 == 1 ? 0x82F6_3B78 : 0) }
        }
        return ~remainder
    }
}
