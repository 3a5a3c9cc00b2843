import Base
import CChecksum

/// One page of a bitmap on a member: a header of 32 bytes, then a bit per region, least significant bit first.
///
/// Each page carries its own checksum and says what it is; one that is torn, corrupt or of another place reads as "all
/// dirty", which costs copying and never data.
///
/// | bytes | what |
/// |---|---|
/// | 0-3 | "TBMP" |
/// | 4-7 | CRC32C of the page with this field zero |
/// | 8-15 | low half of the volume's UUID |
/// | 16-23 | sequence: raised at each write of the page |
/// | 24-27 | page number within the map |
/// | 28 | kind of the map: 0 to 2, "that member may lack writes here"; 3, "in flight or unflushed here" |
public enum BitmapPage {
    public static let headerSize = 32
    static let magic: UInt32 = 0x504d_4254

    /// Encodes a page into `page`, whose bits start at byte 32 and are filled in already.
    public static func seal(
        _ page: UnsafeMutableRawBufferPointer, volume: UUIDBytes, sequence: UInt64, kind: Int, number: Int
    ) {
        page.storeBytes(of: magic.littleEndian, toByteOffset: 0, as: UInt32.self)
        page.storeBytes(of: 0, toByteOffset: 4, as: UInt32.self)
        page.storeBytes(of: volume.low.littleEndian, toByteOffset: 8, as: UInt64.self)
        page.storeBytes(of: sequence.littleEndian, toByteOffset: 16, as: UInt64.self)
        page.storeBytes(of: UInt32(truncatingIfNeeded: number).littleEndian, toByteOffset: 24, as: UInt32.self)
        page.storeBytes(of: UInt32(truncatingIfNeeded: kind).littleEndian, toByteOffset: 28, as: UInt32.self)
        let checksum = tercet_crc32c(page.baseAddress, page.count)
        page.storeBytes(of: checksum.littleEndian, toByteOffset: 4, as: UInt32.self)
    }

    /// Whether a page read from a member is intact and is the one asked for. The checksum field is zeroed meanwhile and
    /// put back.
    public static func isIntact(
        _ page: UnsafeMutableRawBufferPointer, volume: UUIDBytes, kind: Int, number: Int
    ) -> Bool {
        guard page.count > headerSize, UInt32(littleEndian: page.load(as: UInt32.self)) == magic else { return false }
        let found = page.load(fromByteOffset: 4, as: UInt32.self)
        page.storeBytes(of: 0, toByteOffset: 4, as: UInt32.self)
        let checksum = tercet_crc32c(page.baseAddress, page.count)
        page.storeBytes(of: found, toByteOffset: 4, as: UInt32.self)
        return checksum == UInt32(littleEndian: found)
            && UInt64(littleEndian: page.load(fromByteOffset: 8, as: UInt64.self)) == volume.low
            && UInt32(littleEndian: page.load(fromByteOffset: 24, as: UInt32.self))
                == UInt32(truncatingIfNeeded: number)
            && UInt32(littleEndian: page.load(fromByteOffset: 28, as: UInt32.self))
                == UInt32(truncatingIfNeeded: kind)
    }

    /// The ordinal, on `member`, of the map that says what `other` may lack: 0 or 1.
    public static func behindOrdinal(of other: MemberIndex, on member: MemberIndex) -> Int {
        other < member ? other.number : other.number - 1
    }

    /// The kind of the map that has an ordinal on `member`.
    public static func kind(ordinal: Int, on member: MemberIndex) -> Int {
        ordinal == inFlightOrdinal ? inFlightKind : ordinal < member.number ? ordinal : ordinal + 1
    }

    /// The ordinal of the map of regions in flight or unflushed.
    public static var inFlightOrdinal: Int { 2 }

    /// The kind of the map of regions in flight or unflushed; the kinds before it are the members.
    public static var inFlightKind: Int { memberCount }
}
