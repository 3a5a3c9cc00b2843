import Base
import CCrypto

/// The key of a host or a subsystem, as nvme-cli makes and checks it: `DHHC-1:HH:BASE64:` (NVMe Base, "Secret representation").
/// HH is the hash function by which it is made a name's own, 00 for none; BASE64 is the key of 32, 48 or 64 bytes, and its
/// CRC-32, the lowest byte first. No error tells anything of a key.
public struct AuthenticationKey: Equatable, Sendable, CustomStringConvertible {
    /// The hash function by which it is made a name's own.
    public let hash: AuthenticationHash?
    private let secret: Secret

    public static let byteCounts = [32, 48, 64]
    private static let prefix = "DHHC-1:"
    private static let form = "allowed: DHHC-1:HH:BASE64:, as \"tercet key make\" and nvme-cli write it"
    private static let longestText = 128

    /// A new key.
    ///
    /// - Parameter byteCount: 32, 48 or 64; with a hash function, as many as its digest has.
    public init(random byteCount: Int, hash: AuthenticationHash?) throws(TercetError) {
        try self.init(Secret(randomByteCount: byteCount), hash: hash)
    }

    public init(_ secret: Secret, hash: AuthenticationHash?) throws(TercetError) {
        let allowed = hash.map { [$0.byteCount] } ?? Self.byteCounts
        guard allowed.contains(secret.byteCount) else {
            throw TercetError(
                .invalid,
                "the key has \(secret.byteCount) bytes; allowed\(hash.map { " for \($0.name)" } ?? ""): "
                    + allowed.map(String.init).joined(separator: ", "))
        }
        self.hash = hash
        self.secret = secret
    }

    public init(parsing text: String) throws(TercetError) {
        let parts = text.utf8.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        guard text.utf8.count <= Self.longestText, parts.count == 4, text.hasPrefix(Self.prefix), parts[3].isEmpty
        else { throw TercetError(.invalid, "no key; \(Self.form)") }
        let hash: AuthenticationHash?
        switch String(parts[1]) {
        case "00": hash = nil
        case "01": hash = .sha256
        case "02": hash = .sha384
        case "03": hash = .sha512
        default: throw TercetError(.invalid, "the key's hash function is unknown; allowed: 00, 01, 02 or 03")
        }
        guard let bytes = Self.bytes(ofBase64: parts[2]), bytes.byteCount > 4 else {
            throw TercetError(.invalid, "the key is no base64; \(Self.form)")
        }
        let key = try bytes.withBytes { all throws(TercetError) in
            let (key, check) = (UnsafeRawBufferPointer(rebasing: all.dropLast(4)), all.suffix(4))
            let sum = Self.checkValue(key)
            guard zip(0..<4, check).allSatisfy({ UInt8(truncatingIfNeeded: sum >> UInt32(8 * $0)) == $1 }) else {
                throw TercetError(.damaged, "the key's check value is wrong: it was mistyped, or a part is missing")
            }
            return Secret(copying: key)
        }
        try self.init(key, hash: hash)
    }

    /// The key for people and programs that are to have it.
    public var exposedText: String {
        let bytes = secret.withBytes { key in
            Secret(byteCount: key.count + 4) { all in
                all.copyMemory(from: key)
                let sum = Self.checkValue(key)
                for place in 0..<4 { all[key.count + place] = UInt8(truncatingIfNeeded: sum >> UInt32(8 * place)) }
            }
        }
        let text = bytes.withBytes { bytes in
            String(unsafeUninitializedCapacity: (bytes.count + 2) / 3 * 4 + 1) { text in
                Int(
                    EVP_EncodeBlock(text.baseAddress, bytes.bindMemory(to: UInt8.self).baseAddress, Int32(bytes.count)))
            }
        }
        return "\(Self.prefix)0\(hash?.rawValue ?? 0):\(text):"
    }

    public var byteCount: Int { secret.byteCount }

    public var description: String { "(key of \(byteCount) bytes)" }

    /// The key as it is used for a name: the host's for its own key, the subsystem's for a controller's (NVMe Base, "DH-HMAC-CHAP
    /// Security Requirements").
    func own(by nqn: String) -> Secret {
        guard let hash else { return secret }
        return Array((nqn + "NVMe-over-Fabrics").utf8).withUnsafeBytes { hash.code(secret, $0) }
    }

    /// CRC-32 (ISO 3309), as zlib has it.
    private static func checkValue(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        var sum: UInt32 = ~0
        for byte in bytes {
            sum ^= UInt32(byte)
            for _ in 0..<8 { sum = sum & 1 == 0 ? sum >> 1 : sum >> 1 ^ 0xEDB8_8320 }
        }
        return ~sum
    }

    private static func bytes(ofBase64 text: Substring.UTF8View) -> Secret? {
        let padding = text.suffix(2).count { $0 == UInt8(ascii: "=") }
        let isBase64 = text.dropLast(padding).allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "/"):
                true
            default: false
            }
        }
        guard isBase64, !text.isEmpty, text.count % 4 == 0 else { return nil }
        // libcrypto writes zeroes for the padding too.
        let decoded = Secret(byteCount: text.count / 4 * 3) { bytes in
            let count = Array(text).withUnsafeBufferPointer { source in
                EVP_DecodeBlock(bytes.bindMemory(to: UInt8.self).baseAddress, source.baseAddress, Int32(source.count))
            }
            invariant(Int(count) == bytes.count, "libcrypto decodes what is base64")
        }
        return decoded.withBytes { Secret(copying: UnsafeRawBufferPointer(rebasing: $0.dropLast(padding))) }
    }
}

extension AuthenticationKey: CustomReflectable {
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// The keys by which a host and a subsystem know each other.
public struct AuthenticationKeys: Equatable, Sendable {
    /// By which the host shows who it is.
    public var host: AuthenticationKey
    /// By which the controller shows who it is, if the host asks.
    public var controller: AuthenticationKey?

    public init(host: AuthenticationKey, controller: AuthenticationKey? = nil) {
        self.host = host
        self.controller = controller
    }
}
