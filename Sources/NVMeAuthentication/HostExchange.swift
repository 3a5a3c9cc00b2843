import Base

/// A host's side of an exchange on one queue: messages in, messages out. Its arithmetic takes milliseconds: it is for a thread that
/// nobody's I/O waits for.
public struct HostExchange: Sendable {
    /// The consequence of a message of the controller.
    public enum Step: Equatable, Sendable {
        /// This is to be sent, and an answer asked for.
        case send([UInt8])
        /// Both sides know each other; this is to be sent still, if there is anything.
        case authenticated(last: [UInt8]?)
        /// The exchange has failed; the controller is to be told, unless it knows.
        case failed(AuthenticationFailure, last: [UInt8]?)
    }

    private enum State: Sendable {
        case idle
        case negotiating
        /// The controller's response has to be this; `nil` if it was asked for none.
        case replied(expected: Secret?, hashLength: Int)
        case ended
    }

    private let hostNQN: String
    private let subsystemNQN: String
    private let keys: AuthenticationKeys
    private let algorithms: AuthenticationAlgorithms
    private let transaction: UInt16
    private var state = State.idle

    /// - Parameters:
    ///   - keys: with a controller's key, the controller has to show that it has it.
    ///   - transaction: another one for each exchange of a queue.
    public init(
        hostNQN: String, subsystemNQN: String, keys: AuthenticationKeys,
        algorithms: AuthenticationAlgorithms = AuthenticationAlgorithms(), transaction: UInt16
    ) {
        self.hostNQN = hostNQN
        self.subsystemNQN = subsystemNQN
        self.keys = keys
        self.algorithms = algorithms
        self.transaction = transaction
    }

    /// The first message.
    public mutating func begin() -> [UInt8] {
        state = .negotiating
        return encoded(
            .negotiate(
                Negotiation(hashes: algorithms.hashes.map(\.rawValue), groups: algorithms.groups.map(\.rawValue))))
    }

    /// A message of the controller has come.
    public mutating func received(_ bytes: UnsafeRawBufferPointer) -> Step {
        let frame: AuthenticationFrame
        do throws(AuthenticationFailure) {
            frame = try AuthenticationFrame(decoding: bytes)
        } catch { return fail(error) }
        guard frame.transaction == transaction else { return fail(.incorrectPayload) }
        switch (state, frame.message) {
        case (_, .failure1(let failure)):
            state = .ended
            return .failed(failure, last: nil)
        case (.negotiating, .challenge(let challenge)): return reply(to: challenge)
        case (.replied(let expected, let length), .success1(let success)):
            return judge(success, expected, hashLength: length)
        default: return fail(.incorrectMessage)
        }
    }

    private func encoded(_ message: AuthenticationMessage) -> [UInt8] {
        AuthenticationFrame(message, of: transaction).encoded
    }

    private mutating func fail(_ failure: AuthenticationFailure) -> Step {
        state = .ended
        return .failed(failure, last: encoded(.failure2(failure)))
    }

    private mutating func reply(to challenge: Challenge) -> Step {
        guard let hash = algorithms.hashes.first(where: { $0.rawValue == challenge.hash }) else {
            return fail(.hashNotUsable)
        }
        guard let group = algorithms.groups.first(where: { $0.rawValue == challenge.group }) else {
            return fail(.groupNotUsable)
        }
        guard challenge.value.count == hash.byteCount, challenge.publicValue.count == group.byteCount else {
            return fail(.incorrectPayload)
        }
        var shared: Secret?
        var publicValue: [UInt8] = []
        if group != .null {
            guard let key = DiffieHellmanKey(group) else { return fail(.groupNotUsable) }
            shared = key.sharedSecret(with: challenge.publicValue)
            publicValue = key.publicValue
            guard shared != nil else { return fail(.incorrectPayload) }
        }
        var input = ResponseInput(
            hash: hash, challenge: challenge.value, sequence: challenge.sequence, transaction: transaction,
            shared: shared, hostNQN: hostNQN, subsystemNQN: subsystemNQN)
        var reply = Reply(
            sequence: 0, response: input.hostResponse(keys.host).withBytes { Array($0) }, challenge: nil,
            publicValue: publicValue)
        var expected: Secret?
        if let key = keys.controller {
            input.challenge = unforeseeableBytes(hash.byteCount)
            input.sequence = challenge.sequence &+ 1 == 0 ? 1 : challenge.sequence &+ 1
            reply.challenge = input.challenge
            reply.sequence = input.sequence
            expected = input.controllerResponse(key)
        }
        state = .replied(expected: expected, hashLength: hash.byteCount)
        return .send(encoded(.reply(reply)))
    }

    private mutating func judge(_ success: Success, _ expected: Secret?, hashLength: Int) -> Step {
        guard success.hashLength == hashLength else { return fail(.incorrectPayload) }
        guard let expected else {
            state = .ended
            return .authenticated(last: nil)
        }
        guard let response = success.response, response.withUnsafeBytes({ expected.equals($0) }) else {
            return fail(.failed)
        }
        state = .ended
        return .authenticated(last: encoded(.success2))
    }
}
