import Base
import NVMeAuthentication
import Testing

/// Exchanges with a side that others wrote: `PythonPeer`.
@Suite("Exchanges with an independent peer")
struct ExchangeTests {
    /// Each hash function with each group.
    static let pairs = AuthenticationHash.allCases.flatMap { hash in
        AuthenticationGroup.allCases.map { (hash, $0) }
    }

    static func keys(bothWays: Bool) throws -> AuthenticationKeys {
        try AuthenticationKeys(
            host: AuthenticationKey(random: 32, hash: .sha256),
            controller: bothWays ? AuthenticationKey(random: 64, hash: nil) : nil)
    }

    static func controller(
        _ keys: [AuthenticationKeys], _ hash: AuthenticationHash, _ group: AuthenticationGroup
    ) -> ControllerExchange {
        ControllerExchange(
            ControllerExchange.Peer(
                hostNQN: PythonPeer.host, subsystemNQN: PythonPeer.subsystem, keys: keys,
                algorithms: AuthenticationAlgorithms(hashes: [hash], groups: [group])))
    }

    /// Lets a controller have an exchange with a host until either ends it.
    static func run(_ exchange: inout ControllerExchange, with host: PythonPeer) throws -> ControllerExchange.Step {
        while true {
            switch try host.message().withUnsafeBytes({ exchange.received($0) }) {
            case .compute(let work): exchange.computed(work.run())
            case .answer: break
            case let end: return end
            }
            try host.send(#require(exchange.message))
            if let end = exchange.sent() { return end }
        }
    }

    @Test("A host of another make is let in, one way and both ways", arguments: pairs)
    func controllerSide(hash: AuthenticationHash, group: AuthenticationGroup) throws {
        for bothWays in [false, true] {
            let keys = try Self.keys(bothWays: bothWays)
            let host = try PythonPeer("host", keys, hash, group)
            var exchange = Self.controller([keys], hash, group)
            let end = try Self.run(&exchange, with: host)
            guard case .authenticated = end else {
                Issue.record("\(end)")
                continue
            }
            #expect(try host.line() == "authenticated")
            #expect(!exchange.isRunning)
        }
    }

    @Test("A controller of another make lets us in, one way and both ways", arguments: pairs)
    func hostSide(hash: AuthenticationHash, group: AuthenticationGroup) throws {
        for bothWays in [false, true] {
            let keys = try Self.keys(bothWays: bothWays)
            let controller = try PythonPeer("controller", keys, hash, group)
            #expect(try Self.run(keys, hash, group, with: controller) == nil)
            #expect(try controller.line() == "authenticated")
        }
    }

    /// The host's side of an exchange; the failure, if it failed.
    static func run(
        _ keys: AuthenticationKeys, _ hash: AuthenticationHash, _ group: AuthenticationGroup,
        with controller: PythonPeer
    ) throws -> AuthenticationFailure? {
        var exchange = HostExchange(
            hostNQN: PythonPeer.host, subsystemNQN: PythonPeer.subsystem, keys: keys,
            algorithms: AuthenticationAlgorithms(hashes: [hash], groups: [group]), transaction: 0xABCD)
        try controller.send(exchange.begin())
        while true {
            switch try controller.message().withUnsafeBytes({ exchange.received($0) }) {
            case .send(let message): try controller.send(message)
            case .authenticated(let last):
                if let last { try controller.send(last) }
                return nil
            case .failed(let failure, let last):
                if let last { try controller.send(last) }
                return failure
            }
        }
    }

    @Test("A host with another key is refused, and hears why")
    func wrongHostKey() throws {
        let host = try PythonPeer("host", try Self.keys(bothWays: false), .sha384, .ffdhe2048)
        var exchange = Self.controller([try Self.keys(bothWays: false)], .sha384, .ffdhe2048)
        let end = try Self.run(&exchange, with: host)
        guard case .failed(.failed) = end else {
            Issue.record("\(end)")
            return
        }
        #expect(try host.line() == "failed 1")
    }

    @Test("A former key is valid beside the new one, and the controller shows the one that goes along with it")
    func formerKey() throws {
        let (former, new) = (try Self.keys(bothWays: true), try Self.keys(bothWays: true))
        for keys in [former, new] {
            let host = try PythonPeer("host", keys, .sha256, .null)
            var exchange = Self.controller([new, former], .sha256, .null)
            let end = try Self.run(&exchange, with: host)
            guard case .authenticated = end else {
                Issue.record("\(end)")
                return
            }
            #expect(try host.line() == "authenticated")
        }
    }

    @Test("A controller with another key is not believed")
    func wrongControllerKey() throws {
        let keys = try Self.keys(bothWays: true)
        let other = AuthenticationKeys(host: keys.host, controller: try AuthenticationKey(random: 48, hash: .sha384))
        let controller = try PythonPeer("controller", other, .sha512, .ffdhe3072)
        #expect(try Self.run(keys, .sha512, .ffdhe3072, with: controller) == .failed)
        #expect(try controller.line() == "failed 1")
    }

    @Test("A host that asks for the controller's response gets none from a controller without a key")
    func noControllerKey() throws {
        let keys = try Self.keys(bothWays: true)
        let host = try PythonPeer("host", keys, .sha256, .ffdhe2048)
        var exchange = Self.controller([AuthenticationKeys(host: keys.host)], .sha256, .ffdhe2048)
        _ = try Self.run(&exchange, with: host)
        #expect(try host.line() == "failed 1")
    }

    @Test("A host that offers no hash function or group of ours is refused")
    func nothingInCommon() throws {
        let keys = try Self.keys(bothWays: false)
        for (hash, group, failure) in [
            (AuthenticationHash.sha512, AuthenticationGroup.ffdhe2048, AuthenticationFailure.hashNotUsable),
            (.sha256, .null, .groupNotUsable),
        ] {
            let host = try PythonPeer("host", keys, hash, group)
            var exchange = Self.controller([keys], .sha256, .ffdhe2048)
            _ = try Self.run(&exchange, with: host)
            #expect(try host.line() == "failed \(failure.rawValue)")
        }
    }
}
