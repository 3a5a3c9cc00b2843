import Foundation
import VolumeRegistry

/// Calls of one cluster: whichever of its members answers, with a deadline for each call.
final class EtcdClient: @unchecked Sendable {
    // Unchecked: one thread uses it at a time; any may wake it.
    let place: EtcdPlace
    private let caller: HTTPCaller
    /// The time for each call.
    let milliseconds: Int
    private let encoder = JSONEncoder()
    private let decoder = JSONDecoder()
    /// The member that is asked.
    private(set) var endpoint = 0
    /// Members whose guards have been tried.
    private var tried: Set<Int> = []
    /// The name under which etcd knows the user.
    private var token: String?
    /// The highest revision that was seen.
    private(set) var lastRevision: Int64 = 0

    /// The longest answer that is read, in bytes.
    private static let greatestAnswer = 128 << 20
    /// The longest time that one member is waited for.
    private static let attemptMilliseconds = 3000

    init(_ place: EtcdPlace, milliseconds: Int) {
        self.place = place
        self.milliseconds = milliseconds
        caller = HTTPCaller(tls: place.tls)
    }

    func wake() { caller.wake() }

    /// Why a call at one member has no answer that could be used.
    enum Problem: Error {
        /// The cluster has refused it. Nothing has changed.
        case refused(RegistryError)
        /// The member cannot say. Another one may.
        case elsewhere(String)
        /// The user is not known any more.
        case unknownToken
    }

    /// Calls, at another member if one does not answer, until the deadline. So the same call may be made more than once.
    ///
    /// - Throws: `unavailable` if no member has answered; a change may have been made then.
    func call<Content: EtcdAnswer>(
        _ path: String, _ request: some Encodable, returning type: Content.Type
    ) throws(RegistryError) -> Content {
        guard let body = try? encoder.encode(request) else {
            throw RegistryError(.invalid, "\(place.words): the request has a value that cannot be written")
        }
        return try anywhere {
            (endpoint, milliseconds) throws(Problem) in
            try self.call(path, body, at: endpoint, milliseconds, returning: type)
        }
    }

    /// Calls with guards, which a member first has to show that it understands.
    func transact(
        _ request: TransactionRequest
    ) throws(RegistryError) -> TransactionAnswer {
        guard let body = try? encoder.encode(request) else {
            throw RegistryError(.invalid, "\(place.words): the request has a value that cannot be written")
        }
        return try anywhere {
            (endpoint, milliseconds) throws(Problem) in
            try self.tryGuards(at: endpoint, milliseconds)
            return try self.call(
                "/v3/kv/txn", body, at: endpoint, milliseconds, returning: TransactionAnswer.self)
        }
    }

    /// Does `body` at one member after the other, until one has an answer.
    func anywhere<Content>(
        _ body: (_ endpoint: Int, _ milliseconds: Int) throws(Problem) -> Content
    ) throws(RegistryError) -> Content {
        let start = ContinuousClock.now
        var problems: [Int: String] = [:]
        var attempts = 0
        while true {
            let left = milliseconds - (ContinuousClock.now - start).milliseconds
            guard left > 0, attempts == 0 || left >= 50 else { throw unavailable(problems) }
            // A member that hangs leaves time for the others.
            let share = max(left / place.endpoints.count, min(left, 250))
            do throws(Problem) {
                if token == nil, place.user != nil { try authenticate(min(share, Self.attemptMilliseconds)) }
                return try body(endpoint, min(share, Self.attemptMilliseconds))
            } catch {
                attempts += 1
                switch error {
                case .refused(let error): throw error
                case .unknownToken:
                    token = nil
                    problems[endpoint] = "the user's token is not known"
                    // A new one is asked for at once, and then now and then.
                    if attempts > 1 { pause(milliseconds: 100) }
                case .elsewhere(let reason):
                    problems[endpoint] = reason
                    next()
                    let rounds = attempts / place.endpoints.count
                    if attempts % place.endpoints.count == 0 { pause(milliseconds: min(100, 5 << min(rounds, 5))) }
                }
            }
        }
    }

    /// Asks another member from now on.
    func next() {
        tried.remove(endpoint)
        endpoint = (endpoint + 1) % place.endpoints.count
    }

    private func pause(milliseconds: Int) { usleep(UInt32(milliseconds) * 1000) }

    private func unavailable(_ problems: [Int: String]) -> RegistryError {
        let words = problems.sorted { $0.key < $1.key }.map { "\(place.endpoints[$0.key]): \($0.value)" }
        return RegistryError(
            .unavailable,
            "\(place.words): no member could answer within \(Double(milliseconds) / 1000) s (\(words.joined(separator: "; "))); more than half of "
                + "the cluster's members have to run and see each other")
    }

    // MARK: One member

    func call<Content: EtcdAnswer>(
        _ path: String, _ body: Data, at endpoint: Int, _ milliseconds: Int, returning type: Content.Type
    ) throws(Problem) -> Content {
        var bytes = Data()
        let outcome = stream(path, body, at: endpoint, milliseconds: milliseconds, firstBytesMilliseconds: milliseconds)
        {
            piece in
            bytes.append(contentsOf: piece)
            return bytes.count <= Self.greatestAnswer
        }
        switch outcome {
        case .cancelled: throw .elsewhere("the call was ended")
        case .failed(let failure): throw .elsewhere(failure.reason)
        case .answered(200):
            guard bytes.count <= Self.greatestAnswer, let content = try? decoder.decode(type, from: bytes) else {
                throw .elsewhere("its answer to \(path) is none of etcd's")
            }
            lastRevision = max(lastRevision, content.header?.revision?.value ?? 0)
            return content
        case .answered(let status): throw problem(status, bytes)
        }
    }

    /// Calls, and hands out the answer as it comes.
    func stream(
        _ path: String, _ body: Data, at endpoint: Int, milliseconds: Int, firstBytesMilliseconds: Int,
        isCancelled: () -> Bool = { false }, receive: @escaping (UnsafeRawBufferPointer) -> Bool
    ) -> HTTPCaller.Outcome {
        // The member gives up with us, and does nothing when it has lost its leader (etcd 3.4, api/v3rpc/metadata_fields.go).
        var headers = ["Grpc-Timeout: \(milliseconds)m", "Grpc-Metadata-hasleader: true"]
        if let token { headers.append("Authorization: \(token)") }
        return caller.call(
            HTTPCaller.Request(
                url: place.url(endpoint, path), body: body, headers: headers, milliseconds: milliseconds,
                firstBytesMilliseconds: firstBytesMilliseconds), isCancelled: isCancelled, receive: receive)
    }

    /// The problem of an answer with another status than 200.
    func problem(_ status: Int, _ bytes: Data) -> Problem {
        guard let answer = try? decoder.decode(ErrorAnswer.self, from: bytes), let code = answer.code else {
            guard status != 404 else {
                return .elsewhere(
                    "it has no JSON gateway at /v3 (etcd 3.4 or later has one, with enable-grpc-gateway: true in its file)"
                )
            }
            return .elsewhere("it answers with HTTP status \(status)")
        }
        return problem(code: code, String((answer.message ?? "code \(code)").prefix(200)))
    }

    /// The problem of a code of gRPC.
    func problem(code: Int, _ message: String) -> Problem {
        func refused(_ code: RegistryError.Code, _ remedy: String = "") -> Problem {
            .refused(RegistryError(code, "\(place.words): \(message)\(remedy)"))
        }
        // The second one tells that users or roles have been changed since.
        if ["invalid auth token", "auth store is old"].contains(where: message.contains) { return .unknownToken }
        switch code {
        // UNAUTHENTICATED
        case 16: return .unknownToken
        // PERMISSION_DENIED
        case 7:
            return refused(.notPermitted, "; the user's role needs the keys from \(place.prefix)/ to \(place.prefix)0")
        // INVALID_ARGUMENT, of which etcd makes those of users and passwords, too
        case 3 where message.contains("user name is empty"):
            return refused(.notPermitted, "; etcd asks for users: add user=NAME&password-file=FILE")
        case 3 where message.contains("authentication failed"):
            return refused(.notPermitted, "; see user=NAME and password-file=FILE")
        // OUT_OF_RANGE
        case 11 where message.contains("compacted"): return refused(.compacted)
        // NOT_FOUND
        case 5 where message.contains("lease"): return refused(.leaseLost)
        // FAILED_PRECONDITION
        case 9 where message.contains("lease already exists"): return refused(.conflict(present: nil))
        // RESOURCE_EXHAUSTED
        case 8 where message.contains("database space exceeded"):
            return refused(.failed, "; compact it, and take the alarm back: etcdctl compact, defrag, alarm disarm")
        // UNAVAILABLE, DEADLINE_EXCEEDED and others that may have been met on the way, with the change made or not
        case 14, 4, 1, 2, 8, 13: return .elsewhere(message)
        default: return refused(.failed)
        }
    }

    /// Gets a token for the user's name and password.
    private func authenticate(_ milliseconds: Int) throws(Problem) {
        let request = AuthenticateRequest(name: place.user ?? "", password: place.password ?? "")
        guard let body = try? encoder.encode(request) else { return }
        token = nil
        token = try call(
            "/v3/auth/authenticate", body, at: endpoint, milliseconds, returning: AuthenticateAnswer.self
        ).token
    }

    /// Sees that a member understands guards: it makes no transaction whose guard is false, and makes one whose guard is true.
    ///
    /// A gateway leaves out what it does not know, and without its guard a transaction overwrites whatever is there.
    private func tryGuards(at endpoint: Int, _ milliseconds: Int) throws(Problem) {
        guard !tried.contains(endpoint) else { return }
        let key = Data(place.registryKey.utf8)
        let found: RangeAnswer = try ask("/v3/kv/range", RangeRequest(key: key), at: endpoint, milliseconds)
        let revision = found.kvs?.first?.modRevision?.value ?? 0
        for expected in [revision + 1, revision] {
            let step = TransactionStep(range: RangeRequest(key: key))
            let answer: TransactionAnswer = try ask(
                "/v3/kv/txn",
                TransactionRequest(
                    compare: [Guard(place.registryKey, revision: expected)], success: [step], failure: [step]),
                at: endpoint, milliseconds)
            // The key at the moment of the guard: another program may have changed it.
            let present = answer.responses?.first?.range?.kvs?.first?.modRevision?.value ?? 0
            guard (answer.succeeded ?? false) == (present == expected) else {
                throw .refused(
                    RegistryError(
                        .failed,
                        "\(place.endpoints[endpoint]): it does not understand the guards of transactions, so that a change could "
                            + "overwrite another's; nothing was changed: etcd 3.4 or later is needed"))
            }
        }
        tried.insert(endpoint)
    }

    private func ask<Content: EtcdAnswer>(
        _ path: String, _ request: some Encodable, at endpoint: Int, _ milliseconds: Int
    ) throws(Problem) -> Content {
        guard let body = try? encoder.encode(request) else {
            throw .elsewhere("the request cannot be written")
        }
        return try call(path, body, at: endpoint, milliseconds, returning: Content.self)
    }
}
