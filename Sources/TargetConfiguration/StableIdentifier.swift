import Base
import NVMeSpec

/// Identifiers that are made from names, so that they are the same at each start and on each machine.
///
/// They are name-based UUIDs (RFC 9562, section 5.5, version 5), which other tools make as well:
///
///     uuidgen --sha1 --namespace 6c5b5b0e-0f3c-4f0a-9d0e-7e2c1d6a4b11 --name NQN/NSID
public enum StableIdentifier {
    /// The name space of all names below; a random UUID.
    static let nameSpace = UUIDBytes(high: 0x6c5b_5b0e_0f3c_4f0a, low: 0x9d0e_7e2c_1d6a_4b11)

    /// The UUID of a namespace: of the name `NQN/NSID`.
    public static func namespaceUUID(nqn: String, nsid: UInt32) -> UUIDBytes { uuid(name: "\(nqn)/\(nsid)") }

    /// A serial number for a subsystem: 20 hexadecimal digits of the UUID of the name `NQN`.
    public static func serialNumber(nqn: String) -> String { String(uuid(name: nqn).hexadecimal.prefix(20)) }

    /// The version 5 UUID of a name.
    package static func uuid(name: String, nameSpace: UUIDBytes = nameSpace) -> UUIDBytes {
        let digest = SHA1.digest(nameSpace.bytes + Array(name.utf8))
        guard var uuid = UUIDBytes(bytes: digest.prefix(16)) else { return UUIDBytes() }
        uuid.high = uuid.high & ~0xf000 | 0x5000
        uuid.low = uuid.low & ~(0b11 << 62) | 0b10 << 62
        return uuid
    }
}

/// SHA-1 (FIPS 180-4), which name-based UUIDs are defined with. Not for anything that an attacker must not forge.
enum SHA1 {
    /// The 20 bytes of the digest of `message`.
    static func digest(_ message: [UInt8]) -> [UInt8] {
        var state: [UInt32] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0]
        var padded = message + [0x80]
        padded += [UInt8](repeating: 0, count: (120 - padded.count % 64) % 64)
        let bitCount = UInt64(message.count) * 8
        padded += (0..<8).map { UInt8(truncatingIfNeeded: bitCount >> (56 - 8 * UInt64($0))) }
        for start in stride(from: 0, to: padded.count, by: 64) { mix(padded[start..<start + 64], into: &state) }
        return state.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * UInt32($0))) } }
    }

    private static func mix(_ block: ArraySlice<UInt8>, into state: inout [UInt32]) {
        var schedule = stride(from: block.startIndex, to: block.endIndex, by: 4).map { position in
            block[position..<position + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        }
        for round in 16..<80 {
            schedule.append(
                rotate(schedule[round - 3] ^ schedule[round - 8] ^ schedule[round - 14] ^ schedule[round - 16], 1))
        }
        var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
        for round in 0..<80 {
            let (function, constant): (UInt32, UInt32) =
                switch round {
                case ..<20: (b & c | ~b & d, 0x5a82_7999)
                case ..<40: (b ^ c ^ d, 0x6ed9_eba1)
                case ..<60: (b & c | b & d | c & d, 0x8f1b_bcdc)
                default: (b ^ c ^ d, 0xca62_c1d6)
                }
            let next = rotate(a, 5) &+ function &+ e &+ constant &+ schedule[round]
            (a, b, c, d, e) = (next, a, rotate(b, 30), c, d)
        }
        for (position, value) in [a, b, c, d, e].enumerated() { state[position] &+= value }
    }

    private static func rotate(_ word: UInt32, _ bits: UInt32) -> UInt32 { word << bits | word >> (32 - bits) }
}
