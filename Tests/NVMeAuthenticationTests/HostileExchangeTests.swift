import Base
import NVMeAuthentication
import Testing

/// Messages that no good peer sends.
@Suite("Exchanges with hostile peers")
struct HostileExchangeTests {
    private static func controller(_ keys: AuthenticationKeys) -> ControllerExchange {
        ExchangeTests.controller([keys], .sha256, .ffdhe2048)
    }

    private static func host(_ keys: AuthenticationKeys) -> HostExchange {
        HostExchange(
            hostNQN: PythonPeer.host, subsystemNQN: PythonPeer.subsystem, keys: keys,
            algorithms: AuthenticationAlgorithms(hashes: [.sha256], groups: [.ffdhe2048]), transaction: 7)
    }

    private static func give(_ bytes: [UInt8], _ exchange: inout ControllerExchange) -> AuthenticationMessage? {
        switch bytes.withUnsafeBytes({ exchange.received($0) }) {
        case .compute(let work): exchange.computed(work.run())
        case .answer, .authenticated, .failed: break
        }
        let answer = exchange.message.flatMap { message in
            message.withUnsafeBytes { try? AuthenticationFrame(decoding: $0) }
        }
        _ = exchange.sent()
        return answer?.message
    }

    /// The controller's exchange up to the host's reply, which is not yet given to it.
    private static func replied(
        _ keys: AuthenticationKeys
    ) throws -> (exchange: ControllerExchange, challenge: Challenge, reply: [UInt8]) {
        var (controller, host) = (controller(keys), host(keys))
        guard case .challenge(let challenge)? = give(host.begin(), &controller) else {
            throw TercetError(.failed, "no challenge")
        }
        let message = AuthenticationFrame(.challenge(challenge), of: 7).encoded
        guard case .send(let reply) = message.withUnsafeBytes({ host.received($0) }) else {
            throw TercetError(.failed, "no reply")
        }
        return (controller, challenge, reply)
    }

    @Test("Every message that is cut off anywhere is refused, and no byte beyond its end is looked at")
    func cutOff() throws {
        let keys = try ExchangeTests.keys(bothWays: true)
        let reply = try Self.replied(keys).reply
        for count in 0..<reply.count {
            var exchange = try Self.replied(keys).exchange
            guard case .failure1(.incorrectPayload)? = Self.give(Array(reply[..<count]), &exchange) else {
                Issue.record("\(count) bytes of a reply")
                return
            }
            // A few are enough: each challenge takes a millisecond.
            if count > 24 { break }
        }
        var host = Self.host(keys)
        let negotiate = host.begin()
        for count in 0..<negotiate.count {
            var exchange = Self.controller(keys)
            #expect(Self.give(Array(negotiate[..<count]), &exchange) == .failure1(.incorrectPayload))
        }
    }

    @Test("A list that is longer than its place is refused", arguments: [10, 11])
    func longLists(place: Int) throws {
        var (exchange, host) = (
            Self.controller(try ExchangeTests.keys(bothWays: false)),
            Self.host(try ExchangeTests.keys(bothWays: false))
        )
        var negotiate = host.begin()
        negotiate[place] = 31
        #expect(Self.give(negotiate, &exchange) == .failure1(.incorrectPayload))
    }

    @Test("More descriptors than bytes, and a secure channel, are refused")
    func badNegotiations() throws {
        let keys = try ExchangeTests.keys(bothWays: false)
        var host = Self.host(keys)
        let good = host.begin()
        for (place, value, failure) in [
            (7, UInt8(255), AuthenticationFailure.incorrectPayload), (6, 1, .secureChannelMismatch),
            (7, 0, .protocolNotUsable), (8, 2, .protocolNotUsable), (1, 9, .incorrectMessage),
        ] {
            var (exchange, negotiate) = (Self.controller(keys), good)
            negotiate[place] = value
            #expect(Self.give(negotiate, &exchange) == .failure1(failure), "byte \(place)")
        }
    }

    @Test("A message out of order is refused")
    func outOfOrder() throws {
        let keys = try ExchangeTests.keys(bothWays: false)
        for message in [AuthenticationMessage.success2, .success1(Success(response: nil, hashLength: 32))] {
            var exchange = Self.controller(keys)
            #expect(
                Self.give(AuthenticationFrame(message, of: 7).encoded, &exchange) == .failure1(.incorrectMessage))
            var running = try Self.replied(keys).exchange
            #expect(Self.give(AuthenticationFrame(message, of: 7).encoded, &running) == .failure1(.incorrectMessage))
        }
    }

    @Test("A message of another transaction, and a reply to another challenge, are refused")
    func replays() throws {
        let keys = try ExchangeTests.keys(bothWays: false)
        var (first, _, reply) = try Self.replied(keys)
        var (second, _, _) = try Self.replied(keys)
        #expect(Self.give(reply, &second) == .failure1(.failed))
        reply[4] ^= 1
        #expect(Self.give(reply, &first) == .failure1(.incorrectPayload))
    }

    @Test("A host that sends the controller's challenge back gets no answer to it")
    func reflection() throws {
        let keys = try ExchangeTests.keys(bothWays: true)
        var (exchange, challenge, bytes) = try Self.replied(keys)
        var frame = try bytes.withUnsafeBytes { try AuthenticationFrame(decoding: $0) }
        guard case .reply(var reply) = frame.message else {
            Issue.record("no reply")
            return
        }
        reply.challenge = challenge.value
        frame.message = .reply(reply)
        #expect(Self.give(frame.encoded, &exchange) == .failure1(.failed))
    }

    @Test("Public values for which anybody knows the secret are refused", arguments: [UInt8(0), 1, 255])
    func weakPublicValues(value: UInt8) throws {
        var (exchange, _, bytes) = try Self.replied(try ExchangeTests.keys(bothWays: false))
        // 0, 1, and a number above the prime.
        let weak = value == 255 ? [UInt8](repeating: 255, count: 256) : [UInt8](repeating: 0, count: 255) + [value]
        bytes.replaceSubrange((bytes.count - 256)..., with: weak)
        #expect(Self.give(bytes, &exchange) == .failure1(.incorrectPayload))
    }

    @Test("A controller cannot let a host in without showing who it is, if the host asks")
    func missingProof() throws {
        var host = Self.host(try ExchangeTests.keys(bothWays: true))
        _ = host.begin()
        var controller = Self.controller(try ExchangeTests.keys(bothWays: true))
        var other = Self.host(try ExchangeTests.keys(bothWays: true))
        guard case .challenge(let challenge)? = Self.give(other.begin(), &controller) else {
            Issue.record("no challenge")
            return
        }
        let message = AuthenticationFrame(.challenge(challenge), of: 7).encoded
        _ = message.withUnsafeBytes { host.received($0) }
        let success = AuthenticationFrame(.success1(Success(response: nil, hashLength: 32)), of: 7).encoded
        guard case .failed(.failed, let last?) = success.withUnsafeBytes({ host.received($0) }) else {
            Issue.record("it was believed")
            return
        }
        #expect(last == AuthenticationFrame(.failure2(.failed), of: 7).encoded)
    }

    @Test(
        "A challenge with what the host has not offered ends the exchange",
        arguments: [(8, 3, 4), (9, 0, 5), (9, 9, 5)])
    func downgrade(place: Int, value: Int, failure: Int) throws {
        let keys = try ExchangeTests.keys(bothWays: false)
        var (controller, host) = (Self.controller(keys), Self.host(keys))
        guard case .challenge(let challenge)? = Self.give(host.begin(), &controller) else {
            Issue.record("no challenge")
            return
        }
        var message = AuthenticationFrame(.challenge(challenge), of: 7).encoded
        message[place] = UInt8(value)
        let step = message.withUnsafeBytes { host.received($0) }
        guard case .failed(let found, _) = step else {
            Issue.record("\(step)")
            return
        }
        #expect(Int(found.rawValue) == failure)
    }
}
