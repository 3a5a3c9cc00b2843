import Base
import CChecksum
import NVMeSpec

/// A reservation as it is stored: one that persists through power loss, or one that another target goes on with.
///
/// Little-endian: magic, version, count, generation, type, holder's place or FFFFFFFFh; then for each registrant its host
/// identifier and key; CRC32C of all before it at the end. Bit 8 of the type is set where it does not persist.
struct StoredReservation {
    private static let magic: UInt32 = 0x5245_5354
    private static let version: UInt32 = 1
    private static let headerByteCount = 24
    private static let registrantByteCount = 24
    private static let doesNotPersist: UInt32 = 1 << 8

    var generation: UInt32
    var type: ReservationType?
    var registrants: [(host: UUIDBytes, key: UInt64)]
    /// `nil` without a reservation and with one that all registrants hold.
    var holder: UUIDBytes?
    var persistsThroughPowerLoss: Bool

    /// Reads the stored form; a torn or foreign one is refused, whatever its bytes.
    init(decoding bytes: [UInt8]) throws(TercetError) {
        func word(_ offset: Int) -> UInt32 {
            (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << UInt32(8 * $1) }
        }
        guard bytes.count >= Self.headerByteCount + 4 else {
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
        guard body == Self.headerByteCount + count * Self.registrantByteCount else {
            throw TercetError(.damaged, "its length does not fit \(count) registrants")
        }
        guard count <= Limits.registrants else {
            throw TercetError(
                .unsupported, "it has \(count) registrants, and a namespace has at most \(Limits.registrants)")
        }
        registrants = (0..<count).map { index in
            let offset = Self.headerByteCount + index * Self.registrantByteCount
            let host = bytes.withUnsafeBytes { UUIDBytes(from: $0.baseAddress.unsafelyUnwrapped + offset) }
            return (host, UInt64(word(offset + 16)) | UInt64(word(offset + 20)) << 32)
        }
        guard Set(registrants.map(\.host)).count == count else {
            throw TercetError(.damaged, "it names a registrant twice")
        }
        generation = word(12)
        type = ReservationType(rawValue: UInt8(truncatingIfNeeded: word(16)))
        persistsThroughPowerLoss = word(16) & Self.doesNotPersist == 0
        let place = Int(word(20))
        holder = place < count && type?.isAllRegistrants != true ? registrants[place].host : nil
        guard type == nil || type?.isAllRegistrants == true || holder != nil else {
            throw TercetError(.damaged, "its holder is not among its registrants")
        }
    }

    /// The stored form of a reservation.
    static func bytes(of reservation: Reservation) -> [UInt8] {
        let registrants = reservation.registrants
        let body = headerByteCount + registrants.count * registrantByteCount
        var (place, holder) = (UInt32(0), UInt32.max)
        registrants.forEach {
            if $0.host == reservation.holder { holder = place }
            place += 1
        }
        return [UInt8](unsafeUninitializedCapacity: body + 4) { buffer, count in
            guard var next = UnsafeMutableRawPointer(buffer.baseAddress) else { return }
            let start = next
            func append<Word: FixedWidthInteger & BitwiseCopyable>(_ word: Word) {
                next.storeBytes(of: word.littleEndian, as: Word.self)
                next += MemoryLayout<Word>.size
            }
            for word in [
                magic, version, UInt32(registrants.count), reservation.generation,
                UInt32(reservation.type?.rawValue ?? 0) | (reservation.persistsThroughPowerLoss ? 0 : doesNotPersist),
                holder,
            ] {
                append(word)
            }
            registrants.forEach {
                $0.host.id.store(to: next)
                next += UUIDBytes.byteCount
                append($0.key)
            }
            append(tercet_crc32c(start, body))
            count = body + 4
        }
    }
}
