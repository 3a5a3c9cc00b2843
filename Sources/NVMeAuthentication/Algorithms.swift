import Base
import CCrypto

/// A hash function of an exchange, by its identifier (NVMe Base, "DH-HMAC-CHAP Hash Function Identifiers").
public enum AuthenticationHash: UInt8, CaseIterable, Sendable {
    case sha256 = 1
    case sha384 = 2
    case sha512 = 3

    /// Bytes of a digest.
    public var byteCount: Int {
        switch self {
        case .sha256: 32
        case .sha384: 48
        case .sha512: 64
        }
    }

    /// The name in configurations.
    public var name: String { "\(self)" }

    /// The digest of a secret.
    func digest(_ bytes: Secret) -> Secret {
        Secret(byteCount: byteCount) { digest in
            let done = bytes.withBytes {
                tercet_crypto_digest(Int32(rawValue), $0.baseAddress, $0.count, digest.baseAddress)
            }
            invariant(done == 1, "libcrypto has the hash functions of the specification")
        }
    }

    /// The HMAC of bytes under a key.
    func code(_ key: Secret, _ bytes: UnsafeRawBufferPointer) -> Secret {
        Secret(byteCount: byteCount) { code in
            let done = key.withBytes {
                tercet_crypto_hmac(
                    Int32(rawValue), $0.baseAddress, $0.count, bytes.baseAddress, bytes.count, code.baseAddress)
            }
            invariant(done == 1, "libcrypto has the hash functions of the specification")
        }
    }
}

/// A Diffie-Hellman group of an exchange, by its identifier (NVMe Base, "DH-HMAC-CHAP Diffie-Hellman Group Identifiers"); the
/// finite fields are those of RFC 7919.
public enum AuthenticationGroup: UInt8, CaseIterable, Sendable {
    /// No Diffie-Hellman: one who records an exchange can try keys on it.
    case null = 0
    case ffdhe2048 = 1
    case ffdhe3072 = 2
    case ffdhe4096 = 3
    case ffdhe6144 = 4
    case ffdhe8192 = 5

    /// Bytes of the prime, and so of public values; 0 without Diffie-Hellman.
    public var byteCount: Int {
        switch self {
        case .null: 0
        case .ffdhe2048: 256
        case .ffdhe3072: 384
        case .ffdhe4096: 512
        case .ffdhe6144: 768
        case .ffdhe8192: 1024
        }
    }

    /// The name in configurations.
    public var name: String { "\(self)" }
}

/// The hash functions and groups that one side takes, those first that it likes best.
public struct AuthenticationAlgorithms: Equatable, Sendable {
    public var hashes: [AuthenticationHash]
    public var groups: [AuthenticationGroup]

    /// Without anything said: every hash function, and every group but the one without Diffie-Hellman, the cheapest first. All of
    /// them are held to be safe.
    public init(
        hashes: [AuthenticationHash] = [.sha512, .sha384, .sha256],
        groups: [AuthenticationGroup] = [.ffdhe2048, .ffdhe3072, .ffdhe4096, .ffdhe6144, .ffdhe8192]
    ) {
        self.hashes = hashes
        self.groups = groups
    }
}
