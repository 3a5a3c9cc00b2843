/// A message of an exchange (NVMe Base, "DH-HMAC-CHAP Authentication Messages"). All numbers are little-endian.
public enum AuthenticationMessage: Equatable, Sendable {
    case negotiate(Negotiation)
    case challenge(Challenge)
    case reply(Reply)
    case success1(Success)
    case success2
    /// The controller ends the exchange.
    case failure1(AuthenticationFailure)
    /// The host ends the exchange.
    case failure2(AuthenticationFailure)
}

/// A message with the transaction that it belongs to.
public struct AuthenticationFrame: Equatable, Sendable {
    /// T_ID, which the host has chosen.
    public var transaction: UInt16
    public var message: AuthenticationMessage

    public init(_ message: AuthenticationMessage, of transaction: UInt16) {
        self.message = message
        self.transaction = transaction
    }
}

/// AUTH_Negotiate: what the host offers.
public struct Negotiation: Equatable, Sendable {
    /// SC_C: the channel is to be secured with what comes of the exchange; 0 for not.
    public var secureChannel: UInt8
    /// Identifiers of hash functions, as they came; none if DH-HMAC-CHAP is not offered.
    public var hashes: [UInt8]
    /// Identifiers of groups.
    public var groups: [UInt8]

    public init(secureChannel: UInt8 = 0, hashes: [UInt8], groups: [UInt8]) {
        self.secureChannel = secureChannel
        self.hashes = hashes
        self.groups = groups
    }
}

/// DH-HMAC-CHAP_Challenge.
public struct Challenge: Equatable, Sendable {
    /// HashID and DHgID.
    public var hash: UInt8
    public var group: UInt8
    /// SEQNUM, S1.
    public var sequence: UInt32
    /// CVAL, C1; as long as a digest.
    public var value: [UInt8]
    /// The controller's public value.
    public var publicValue: [UInt8]
}

/// DH-HMAC-CHAP_Reply.
public struct Reply: Equatable, Sendable {
    /// SEQNUM, S2; 0 without a challenge.
    public var sequence: UInt32
    /// RVAL, R1; as long as a digest.
    public var response: [UInt8]
    /// CVAL, C2: the controller is to show who it is; `nil` if not (CVALID).
    public var challenge: [UInt8]?
    /// The host's public value.
    public var publicValue: [UInt8]

    public init(sequence: UInt32, response: [UInt8], challenge: [UInt8]?, publicValue: [UInt8]) {
        self.sequence = sequence
        self.response = response
        self.challenge = challenge
        self.publicValue = publicValue
    }
}

/// DH-HMAC-CHAP_Success1.
public struct Success: Equatable, Sendable {
    /// RVAL, R2; `nil` where the host asked for none (RVALID).
    public var response: [UInt8]?
    /// HL: bytes of a digest.
    public var hashLength: Int

    public init(response: [UInt8]?, hashLength: Int) {
        self.response = response
        self.hashLength = hashLength
    }
}

/// Why an exchange failed: the reason code explanation (NVMe Base, "AUTH_Failure Reason Code Explanations"). The reason code is
/// always 01h, authentication failure.
public enum AuthenticationFailure: UInt8, CaseIterable, Error, Equatable, Sendable {
    case failed = 1
    case protocolNotUsable = 2
    case secureChannelMismatch = 3
    case hashNotUsable = 4
    case groupNotUsable = 5
    case incorrectPayload = 6
    case incorrectMessage = 7

    /// For people.
    public var text: String {
        switch self {
        case .failed: "authentication failed"
        case .protocolNotUsable: "no authentication protocol that both sides take"
        case .secureChannelMismatch: "a secure channel is asked for, or missing; there is none over RDMA"
        case .hashNotUsable: "no hash function that both sides take"
        case .groupNotUsable: "no Diffie-Hellman group that both sides take"
        case .incorrectPayload: "a message whose contents are wrong"
        case .incorrectMessage: "a message out of order"
        }
    }
}
