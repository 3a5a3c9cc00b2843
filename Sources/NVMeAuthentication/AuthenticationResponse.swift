/// The parts of a response to a challenge (NVMe Base, "DH-HMAC-CHAP_Reply Message", "DH-HMAC-CHAP_Success1 Message").
struct ResponseInput {
    var hash: AuthenticationHash
    var challenge: [UInt8]
    var sequence: UInt32
    var transaction: UInt16
    /// SC_C of the negotiation.
    var secureChannel: UInt8 = 0
    /// The Diffie-Hellman secret; `nil` without Diffie-Hellman.
    var shared: Secret?
    var hostNQN: String
    var subsystemNQN: String

    /// R1, by which the host shows that it has its key.
    func hostResponse(_ key: AuthenticationKey) -> Secret {
        response(key.own(by: hostNQN), "HostHost", hostNQN, subsystemNQN)
    }

    /// R2, by which the controller shows that it has its key.
    func controllerResponse(_ key: AuthenticationKey) -> Secret {
        response(key.own(by: subsystemNQN), "Controller", subsystemNQN, hostNQN)
    }

    private func response(_ key: Secret, _ role: String, _ own: String, _ other: String) -> Secret {
        var bytes = augmentedChallenge
        bytes += littleEndian(sequence) + littleEndian(transaction) + [secureChannel]
        bytes += role.utf8 + Array(own.utf8) + [0] + Array(other.utf8)
        return bytes.withUnsafeBytes { hash.code(key, $0) }
    }

    /// Ca: the challenge, bound to the session by its key KS, the digest of the Diffie-Hellman secret.
    private var augmentedChallenge: [UInt8] {
        guard let shared else { return challenge }
        let session = hash.digest(shared)
        return challenge.withUnsafeBytes { hash.code(session, $0).withBytes { Array($0) } }
    }
}
