import Base
import CChecksum
import NVMeSpec

extension Reservation {
    // The stored form, little-endian: magic, version, count, generation, type, holder's place or FFFFFFFFh; then for
    // each registrant its host identifier and key; CRC32C of all before it at the end.
    private static let magic: UInt32 = 0x5245_5354
    private static let version: UInt32 = 1
    private static let headerWords = 6
    private static let registrantByteCount = 24

    /// The stored form.
    var encoded: [UInt8] {
        let place = registrants.firstIndex { $0.host == holder }.map { UInt32($0) } ?? UInt32.max
        var bytes: [UInt8] = []
        for word in [
            Self.magic, Self.version, UInt32(registrants.count), generation, UInt32(type?.rawValue ?? 0), place,
        ] {
            bytes += Self.littleEndian(word)
        }
        for registrant in registrants {
            bytes += registrant.host.bytes + Self.littleEndian(registrant.key)
        }
        return bytes + Self.littleEndian(tercet_crc32c(bytes, bytes.count))
    }

    /// Reads the stored form; a torn or foreign one is refused, whatever its bytes.
    init(decoding bytes: [UInt8]) throws(TercetError) {
        self.init()
        func word(_ offset: Int) -> UInt32 {
            (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << UInt32(8 * $1) }
        }
        guard bytes.count >= Self.headerWords * 4 + 4 else {
            throw TercetError(.damaged, "\(bytes.count) bytes are too few")
        }
        let body = bytes.count - 4
        guard tercet_crc32c(bytes, body) == word(body) else {
            throw TercetError(.damaged, "its checksum is wrong")
        }
        guard word(0) == Self.magic else { throw TercetError(.damaged, "it is something else") }
        guard word(4) == Self.version else {
            throw TercetError(.unsupported, "it is of version \(word(4)); this program knows \(Self.version)")
        }
        let count = Int(word(8))
        guard body == Self.headerWords * 4 + count * Self.registrantByteCount else {
            throw TercetError(.damaged, "its length does not fit \(count) registrants")
        }
        var restored: [Registrant] = []
        for index in 0..<count {
            let offset = Self.headerWords * 4 + index * Self.registrantByteCount
            guard let host = UUIDBytes(bytes: bytes[offset..<offset + 16]) else { continue }
            restored.append(
                Registrant(host: host, key: UInt64(word(offset + 16)) | UInt64(word(offset + 20)) << 32))
        }
        let type = ReservationType(rawValue: UInt8(truncatingIfNeeded: word(16)))
        let place = Int(word(20))
        let holder = place < restored.count ? restored[place].host : nil
        guard type == nil || type?.isAllRegistrants == true || holder != nil else {
            throw TercetError(.damaged, "its holder is not among its registrants")
        }
        restore(registrants: restored, generation: word(12), type: type, holder: holder)
    }

    private static func littleEndian<Word: FixedWidthInteger>(_ word: Word) -> [UInt8] {
        withUnsafeBytes(of: word.littleEndian) { Array($0) }
    }
}
