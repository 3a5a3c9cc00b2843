import Base
import Fuzzing

/// Stored reservations: a target takes one on whole, or refuses it, and serves its hosts as before.
extension FuzzTarget {
    static let reservationRecord = FuzzTarget(name: "ReservationRecord", seeds: reservationSeeds, inputs: 1000) {
        bytes in
        let world = FuzzedTarget()
        // With its checksum, so that what is in it is looked at.
        var record = Array(bytes.dropLast(4))
        withUnsafeBytes(of: crc32c(record).littleEndian) { record += $0 }
        world.takeOn(reservation: record)
        world.connect()
        world.end()
    }

    /// Magic, version, count, generation, type and flags, the holder's place; for each registrant its host and its key.
    private static let reservationSeeds: [[UInt8]] = [1, 17].map { (count: UInt32) in
        var bytes: [UInt8] = []
        func append(_ word: UInt32) { withUnsafeBytes(of: word.littleEndian) { bytes += $0 } }
        for word in [0x5245_5354, 1, count, 5, 1, 0] { append(word) }
        for number in 1...count { for word in [number, 0, 0, 0, number, 0] { append(word) } }
        return bytes + [0, 0, 0, 0]
    }

    /// CRC32C, bit by bit (RFC 3720, appendix B.4; reflected, polynomial 82F63B78h).
    private static func crc32c(_ bytes: [UInt8]) -> UInt32 {
        ~bytes.reduce(UInt32.max) { remainder, byte in
            (0..<8).reduce(remainder ^ UInt32(byte)) { part, _ in part >> 1 ^ (part & 1 == 1 ? 0x82F6_3B78 : 0) }
        }
    }
}
