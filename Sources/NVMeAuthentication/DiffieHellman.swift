import Base
import CCrypto

/// A private value of a Diffie-Hellman exchange, for one use. Making one, and what is done with it, takes milliseconds.
///
/// Unchecked: libcrypto's key does not change after `init`.
final class DiffieHellmanKey: @unchecked Sendable {
    private let key: OpaquePointer
    let group: AuthenticationGroup
    /// The value for the other side, as long as the group's prime.
    let publicValue: [UInt8]

    /// `nil` where libcrypto does not have the group, as its configuration may forbid.
    init?(_ group: AuthenticationGroup) {
        guard let key = tercet_crypto_dh_new(group.name) else { return nil }
        var value = [UInt8](repeating: 0, count: group.byteCount)
        guard tercet_crypto_dh_public(key, &value, value.count) == 1 else {
            EVP_PKEY_free(key)
            return nil
        }
        self.key = key
        self.group = group
        publicValue = value
    }

    deinit { EVP_PKEY_free(key) }

    /// The secret that both sides have; `nil` if the other side's value is none of the group, or one that gives the secret away.
    func sharedSecret(with other: [UInt8]) -> Secret? {
        guard other.count == group.byteCount else { return nil }
        var isGood = false
        let secret = Secret(byteCount: group.byteCount) { secret in
            isGood = tercet_crypto_dh_derive(key, other, other.count, secret.baseAddress) == 1
        }
        return isGood ? secret : nil
    }
}

/// Bytes that nobody can foresee, to be sent to the other side.
func unforeseeableBytes(_ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    invariant(RAND_bytes(&bytes, Int32(count)) == 1, "the system gives random numbers")
    return bytes
}
