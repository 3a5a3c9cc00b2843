import Base
import Fuzzing
import NVMeAuthentication

/// Messages of DH-HMAC-CHAP: as bytes, and as they come to a controller that a host wants to get past.
extension FuzzTarget {
    static let authenticationMessage = FuzzTarget(name: "AuthenticationFrame", seeds: messages) { bytes in
        guard let frame = try? AuthenticationFrame(decoding: bytes) else { return }
        let again = frame.encoded.withUnsafeBytes { try? AuthenticationFrame(decoding: $0) }
        invariant(again == frame, "a message that is written is read as it was")
    }

    static let authenticationKey = FuzzTarget(
        name: "AuthenticationKey", seeds: [Array((key?.exposedText ?? "").utf8)], inputs: 20_000
    ) { bytes in
        guard let key = try? AuthenticationKey(parsing: String(decoding: bytes, as: UTF8.self)) else { return }
        invariant((try? AuthenticationKey(parsing: key.exposedText)) == key, "a key is read from its own text")
    }

    /// Each message has two bytes of length before it. Whoever does not know the key is never let in.
    static let authenticationExchange = FuzzTarget(
        name: "ControllerExchange", seeds: [messages.flatMap { sized($0) }], inputs: 2000
    ) { bytes in
        guard let key else { return }
        var exchange = ControllerExchange(
            ControllerExchange.Peer(
                hostNQN: "nqn.2026-11.io.example:host", subsystemNQN: "nqn.2026-11.io.example:a",
                keys: [AuthenticationKeys(host: key)], algorithms: AuthenticationAlgorithms()))
        var place = 0
        while place + 2 <= bytes.count {
            let length = min(Int(bytes[place]) | Int(bytes[place + 1]) << 8, bytes.count - place - 2)
            let message = UnsafeRawBufferPointer(rebasing: bytes[(place + 2)..<(place + 2 + length)])
            place += 2 + length
            switch exchange.received(message) {
            case .compute(let work): exchange.computed(work.run())
            case .authenticated: invariantViolated("nobody is let in without the key")
            case .answer, .failed: break
            }
            if let answer = exchange.message {
                invariant(answer.count <= AuthenticationFrame.maxByteCount, "an answer has room in a host's buffer")
                if case .authenticated = exchange.sent() { invariantViolated("nobody is let in without the key") }
            }
        }
    }

    private static let key = try? AuthenticationKey(random: 32, hash: .sha256)

    private static func sized(_ message: [UInt8]) -> [UInt8] {
        [UInt8(message.count & 0xFF), UInt8(message.count >> 8)] + message
    }

    /// Messages of a host, without a group that would take milliseconds.
    private static let messages: [[UInt8]] = {
        let replies: [AuthenticationMessage] = [
            .negotiate(Negotiation(hashes: [1, 2, 3], groups: [0])),
            .reply(Reply(sequence: 0, response: [UInt8](repeating: 7, count: 32), challenge: nil, publicValue: [])),
            .success2,
        ]
        return replies.map { AuthenticationFrame($0, of: 1).encoded }
    }()
}
