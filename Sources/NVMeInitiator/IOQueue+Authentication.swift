import Base
import InitiatorTransport
import NVMeAuthentication
import NVMeSpec

/// How a queue's host shows who it is (NVMe Base, "DH-HMAC-CHAP").
extension IOQueue {
    /// Does what the answer to Connect asks for, and what this host asks for itself. On the group's executor.
    func authenticate(_ identity: QueueIdentity, _ connected: ConnectResult) async throws(InitiatorError) {
        guard !connected.requiresSecureChannel else {
            throw .unsupported("the controller wants a secure channel, which there is over TCP only")
        }
        guard connected.requiresAuthentication else {
            // A target that stands in for the right one does not ask.
            guard group.keys?.provesController != true || identity.options.isDiscovery else {
                throw .notAuthenticated("the controller does not authenticate, and this host has a key for controllers")
            }
            return
        }
        guard let source = group.keys else {
            throw .notAuthenticated("the controller wants this host to show a key, and it has none")
        }
        var exchange = try await HostExchange.made(source, identity.options)
        var message = exchange.begin()
        while true {
            try await exchangeSend(message, identity)
            let (answer, given) = (try await exchangeReceive(identity), exchange)
            // Arithmetic of milliseconds: not on a thread that does I/O.
            let (next, step) = await withTaskExecutorPreference(globalConcurrentExecutor) {
                var exchange = given
                let step = answer.withUnsafeBytes { exchange.received($0) }
                return (exchange, step)
            }
            exchange = next
            switch step {
            case .send(let reply): message = reply
            case .authenticated(let last):
                if let last { try await exchangeSend(last, identity) }
                return
            case .failed(let failure, let last):
                // It is told, if it listens still.
                if let last { _ = try? await exchangeSend(last, identity) }
                throw .notAuthenticated(failure.explanation(isOwn: last != nil))
            }
        }
    }

    private func exchangeSend(_ message: [UInt8], _ identity: QueueIdentity) async throws(InitiatorError) {
        let command = AuthenticationCommand(length: UInt32(message.count))
        _ = try await exchange(.authenticationSend(command), sending: message, "Authentication Send", identity)
    }

    private func exchangeReceive(_ identity: QueueIdentity) async throws(InitiatorError) -> [UInt8] {
        let command = AuthenticationCommand(length: UInt32(AuthenticationFrame.maxByteCount))
        return try await exchange(.authenticationReceive(command), sending: nil, "Authentication Receive", identity)
    }

    private func exchange(
        _ command: FabricsCommand, sending: [UInt8]?, _ name: String, _ identity: QueueIdentity
    ) async throws(InitiatorError) -> [UInt8] {
        let (completion, data) = try await transfer(
            SubmissionEntry(command, commandID: 0), sending: sending,
            receiving: sending == nil ? AuthenticationFrame.maxByteCount : 0,
            timeoutMilliseconds: identity.timeoutMilliseconds, atOnce: true, name: name)
        guard completion.status.isSuccess else { throw .status(completion.status, command: name) }
        return data
    }
}

extension HostExchange {
    /// A new exchange with the keys of now. Files are not read on a thread that does I/O.
    fileprivate static func made(
        _ source: KeySource, _ options: ControllerOptions
    ) async throws(InitiatorError) -> HostExchange {
        let result = await withTaskExecutorPreference(globalConcurrentExecutor) {
            () -> Result<HostExchange, TercetError> in
            do throws(TercetError) {
                return .success(
                    HostExchange(
                        hostNQN: options.hostNQN, subsystemNQN: options.subsystemNQN,
                        keys: try source.keys(for: options.subsystemNQN),
                        transaction: .random(in: .min ... .max)))
            } catch { return .failure(error) }
        }
        do throws(TercetError) { return try result.get() } catch { throw .notAuthenticated("\(error)") }
    }
}

extension AuthenticationFailure {
    /// For the operator of this host.
    ///
    /// - Parameter isOwn: this host has ended the exchange.
    fileprivate func explanation(isOwn: Bool) -> String {
        switch self {
        case .failed where isOwn: "the controller has another key than this host has for it"
        case .failed: "the controller does not know this host's key"
        default: (isOwn ? "" : "the controller says: ") + text
        }
    }
}
