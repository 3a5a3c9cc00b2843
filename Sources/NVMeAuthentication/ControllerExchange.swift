/// A controller's side of an exchange on one queue: messages in, messages and work out. Knows no clock, and computes nothing itself
/// that takes long: that is `Work`, for whoever has a thread for it.
public struct ControllerExchange: Sendable {
    /// The controller's view of the host.
    public struct Peer: Sendable {
        public var hostNQN: String
        public var subsystemNQN: String
        /// Keys that are valid, the newest first.
        public var keys: [AuthenticationKeys]
        public var algorithms: AuthenticationAlgorithms

        public init(
            hostNQN: String, subsystemNQN: String, keys: [AuthenticationKeys], algorithms: AuthenticationAlgorithms
        ) {
            self.hostNQN = hostNQN
            self.subsystemNQN = subsystemNQN
            self.keys = keys
            self.algorithms = algorithms
        }
    }

    /// The consequence of a message of the host.
    public enum Step: Sendable {
        /// `work` is to be done, then `computed` called.
        case compute(Work)
        /// The host is to ask for the next message.
        case answer
        /// The host has shown who it is, and has all that it asked for.
        case authenticated
        /// The host ended the exchange, or broke it beyond an answer.
        case failed(AuthenticationFailure)
    }

    private enum State: Sendable {
        /// No exchange, or one that has ended well.
        case idle
        case challenging
        /// A challenge that is to be sent, or was.
        case challenged(SentChallenge, isSent: Bool)
        case judging
        /// The host is who it says. `asks` where it has asked for the controller's response.
        case succeeded(Success, asks: Bool)
        /// Success2 is expected.
        case awaitsSuccess2
        case failing(AuthenticationFailure)
        case failed
    }

    private let peer: Peer
    private var state = State.idle
    private var transaction: UInt16 = 0

    public init(_ peer: Peer) { self.peer = peer }

    /// A message of the host has come.
    public mutating func received(_ bytes: UnsafeRawBufferPointer) -> Step {
        let frame: AuthenticationFrame
        do throws(AuthenticationFailure) {
            frame = try AuthenticationFrame(decoding: bytes)
        } catch { return fail(error) }
        switch (state, frame.message) {
        case (.idle, .negotiate(let negotiation)):
            transaction = frame.transaction
            return begin(negotiation)
        case (.idle, _):
            transaction = frame.transaction
            return fail(.incorrectMessage)
        case (.challenging, _), (.judging, _), (.failed, _): return fail(.incorrectMessage)
        case (_, _) where frame.transaction != transaction: return fail(.incorrectPayload)
        case (_, .failure2(let failure)):
            state = .failed
            return .failed(failure)
        case (.challenged(let challenge, isSent: true), .reply(let reply)): return judge(reply, to: challenge)
        case (.awaitsSuccess2, .success2):
            state = .idle
            return .authenticated
        default: return fail(.incorrectMessage)
        }
    }

    private mutating func fail(_ failure: AuthenticationFailure) -> Step {
        state = .failing(failure)
        return .answer
    }

    private mutating func begin(_ negotiation: Negotiation) -> Step {
        // NVMe Base, "AUTH_Negotiate Message": secure channels are for TLS, of which RDMA has none.
        guard negotiation.secureChannel == 0 else { return fail(.secureChannelMismatch) }
        guard !negotiation.hashes.isEmpty || !negotiation.groups.isEmpty else { return fail(.protocolNotUsable) }
        guard let hash = peer.algorithms.hashes.first(where: { negotiation.hashes.contains($0.rawValue) }) else {
            return fail(.hashNotUsable)
        }
        guard let group = peer.algorithms.groups.first(where: { negotiation.groups.contains($0.rawValue) }) else {
            return fail(.groupNotUsable)
        }
        state = .challenging
        return .compute(Work(.challenge(hash, group)))
    }

    private mutating func judge(_ reply: Reply, to challenge: SentChallenge) -> Step {
        let length = challenge.hash.byteCount
        guard reply.response.count == length, reply.publicValue.count == challenge.group.byteCount else {
            return fail(.incorrectPayload)
        }
        // A host that sends our challenge back would have us answer it ourselves.
        guard reply.challenge != challenge.value else { return fail(.failed) }
        state = .judging
        return .compute(Work(.judge(reply, challenge, peer, transaction: transaction)))
    }

    /// Work has been done. The host may ask for the next message.
    public mutating func computed(_ result: WorkResult) {
        switch (state, result.value) {
        case (.challenging, .challenge(let challenge)): state = .challenged(challenge, isSent: false)
        case (.judging, .success(let success)): state = .succeeded(success, asks: success.response != nil)
        case (_, .failure(let failure)): state = .failing(failure)
        default: break
        }
    }

    /// Work is under way: the next message comes later.
    public var isComputing: Bool {
        switch state {
        case .challenging, .judging: true
        default: false
        }
    }

    /// Between the first message of an exchange and its end.
    public var isRunning: Bool { if case .idle = state { false } else { true } }

    /// The message that the host gets when it asks; `nil` if there is none for it. `sent` follows where it was sent.
    public var message: [UInt8]? {
        let message: AuthenticationMessage
        switch state {
        case .challenged(let challenge, isSent: false): message = .challenge(challenge.message)
        case .succeeded(let success, _): message = .success1(success)
        case .failing(let failure): message = .failure1(failure)
        default: return nil
        }
        return AuthenticationFrame(message, of: transaction).encoded
    }

    /// The host has got `message`. Returns the end of the exchange if it is one.
    public mutating func sent() -> Step? {
        switch state {
        case .challenged(let challenge, _): state = .challenged(challenge, isSent: true)
        case .succeeded(_, asks: true): state = .awaitsSuccess2
        case .succeeded(_, asks: false):
            state = .idle
            return .authenticated
        case .failing(let failure):
            state = .failed
            return .failed(failure)
        default: break
        }
        return nil
    }
}

/// A challenge of ours, with what is needed to judge the reply.
struct SentChallenge: Sendable {
    var hash: AuthenticationHash
    var group: AuthenticationGroup
    var sequence: UInt32
    var value: [UInt8]
    var key: DiffieHellmanKey?

    var message: Challenge {
        Challenge(
            hash: hash.rawValue, group: group.rawValue, sequence: sequence, value: value,
            publicValue: key?.publicValue ?? [])
    }
}

/// Arithmetic of an exchange that takes milliseconds: for a thread that nobody's I/O waits for.
public struct Work: Sendable {
    fileprivate enum Kind: Sendable {
        case challenge(AuthenticationHash, AuthenticationGroup)
        case judge(Reply, SentChallenge, ControllerExchange.Peer, transaction: UInt16)
    }

    private let kind: Kind

    fileprivate init(_ kind: Kind) { self.kind = kind }

    public func run() -> WorkResult {
        switch kind {
        case .challenge(let hash, let group): WorkResult(value: Self.challenge(hash, group))
        case .judge(let reply, let challenge, let peer, let transaction):
            WorkResult(value: Self.judge(reply, challenge, peer, transaction))
        }
    }

    private static func challenge(_ hash: AuthenticationHash, _ group: AuthenticationGroup) -> WorkResult.Value {
        let key = group == .null ? nil : DiffieHellmanKey(group)
        guard group == .null || key != nil else { return .failure(.groupNotUsable) }
        let random = unforeseeableBytes(4)
        // NVMe Base: a sequence number is not 0.
        let sequence = max(1, random.reduce(UInt32(0)) { $0 << 8 | UInt32($1) })
        return .challenge(
            SentChallenge(
                hash: hash, group: group, sequence: sequence, value: unforeseeableBytes(hash.byteCount), key: key))
    }

    private static func judge(
        _ reply: Reply, _ challenge: SentChallenge, _ peer: ControllerExchange.Peer, _ transaction: UInt16
    ) -> WorkResult.Value {
        var shared: Secret?
        if let key = challenge.key {
            shared = key.sharedSecret(with: reply.publicValue)
            if shared == nil { return .failure(.incorrectPayload) }
        }
        var input = ResponseInput(
            hash: challenge.hash, challenge: challenge.value, sequence: challenge.sequence, transaction: transaction,
            shared: shared, hostNQN: peer.hostNQN, subsystemNQN: peer.subsystemNQN)
        let keys = peer.keys.first { keys in
            reply.response.withUnsafeBytes { input.hostResponse(keys.host).equals($0) }
        }
        guard let keys else { return .failure(.failed) }
        guard let theirs = reply.challenge else {
            return .success(Success(response: nil, hashLength: challenge.hash.byteCount))
        }
        // The host wants to know who we are, and we have nothing to show.
        guard let key = keys.controller else { return .failure(.failed) }
        input.challenge = theirs
        input.sequence = reply.sequence
        let response = input.controllerResponse(key).withBytes { Array($0) }
        return .success(Success(response: response, hashLength: challenge.hash.byteCount))
    }
}

/// The result of work, for the exchange that it was for.
public struct WorkResult: Sendable {
    enum Value: Sendable {
        case challenge(SentChallenge)
        case success(Success)
        case failure(AuthenticationFailure)
    }

    let value: Value
}
