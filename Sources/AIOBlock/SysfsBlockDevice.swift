import BlockInterface
import CLinux
import Glibc

/// The properties of a block device in sysfs (Documentation/ABI/stable/sysfs-block, and the NVMe driver's attributes).
package struct SysfsBlockDevice {
    /// `/sys/dev/block/MAJOR:MINOR`.
    package var folder: String

    package init(folder: String) { self.folder = folder }

    /// A partition is part of a device: the device's identifiers are not its own.
    package var isPartition: Bool { attribute("partition") != nil }

    /// The folder of the queue's attributes, which a partition shares with its device.
    private var queue: String { isPartition ? "../queue" : "queue" }

    /// The device has a cache that loses what was not flushed.
    package var hasVolatileWriteCache: Bool { attribute("\(queue)/write_cache") != "write through" }

    /// The device takes discards.
    package var canDiscard: Bool { attribute("\(queue)/discard_max_bytes").flatMap { UInt64($0) } ?? 0 > 0 }

    /// The unit of discards, in bytes; 0 if the device does not say.
    package var discardGranularity: UInt32 {
        attribute("\(queue)/discard_granularity").flatMap { UInt32($0) } ?? 0
    }

    /// The identifiers of an NVMe namespace; none for other devices and for partitions.
    package var identity: BlockIdentity {
        if isPartition { return BlockIdentity() }
        var identity = BlockIdentity(
            nguid: attribute("nguid").flatMap { Self.bytes($0, count: 16) },
            eui64: attribute("eui").flatMap { Self.bytes($0, count: 8) },
            uuid: attribute("uuid").flatMap { Self.bytes($0, count: 16) })
        // Without a UUID the driver shows the NGUID in its place.
        if identity.uuid == identity.nguid { identity.uuid = nil }
        // Older kernels leave out what `wwid` says: "eui." with 8 or 16 bytes, or "uuid.".
        if let wwid = attribute("wwid"), identity == BlockIdentity() {
            if wwid.hasPrefix("uuid.") { identity.uuid = Self.bytes(String(wwid.dropFirst(5)), count: 16) }
            if wwid.hasPrefix("eui.") {
                identity.nguid = Self.bytes(String(wwid.dropFirst(4)), count: 16)
                identity.eui64 = Self.bytes(String(wwid.dropFirst(4)), count: 8)
            }
        }
        return identity
    }

    /// The text of an attribute without the white space around it, or `nil` if it cannot be read.
    func attribute(_ name: String) -> String? {
        let file = open("\(folder)/\(name)", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        return withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) { buffer in
            let count = read(file, buffer.baseAddress, buffer.count)
            guard count >= 0 else { return nil }
            let text = String(decoding: buffer[..<count], as: UTF8.self)
            return String(text.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
        }
    }

    /// Bytes written in hexadecimal, with or without hyphens and blanks; `nil` if they are not `count` bytes, or all
    /// zero, which means "none".
    static func bytes(_ text: String, count: Int) -> [UInt8]? {
        var digits: [UInt8] = []
        for character in text where character != "-" && character != " " {
            guard let digit = character.hexDigitValue else { return nil }
            digits.append(UInt8(digit))
        }
        guard digits.count == 2 * count else { return nil }
        let bytes = (0..<count).map { digits[2 * $0] << 4 | digits[2 * $0 + 1] }
        return bytes.allSatisfy { $0 == 0 } ? nil : bytes
    }
}
