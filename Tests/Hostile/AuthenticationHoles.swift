import CLibNVMe
import Glibc
import InProcessTransport
import NVMeAuthentication
import Simulation
import TargetInterface
import Testing

@testable import NVMeTargetTests

/// Messages of in-band authentication (NVMe Base, "DH-HMAC-CHAP": their layouts).
@Suite("Holes: in-band authentication")
struct AuthenticationHoles {
    private static let host = HostName(1)
    private let world: EngineWorld
    private let keys: AuthenticationKeys

    init() throws {
        let keys = AuthenticationKeys(host: try AuthenticationKey(random: 32, hash: .sha256))
        self.keys = keys
        // Small pools, so that a host can have written to all of their memory.
        world = try EngineWorld(
            .small { ($0.dataMemory, $0.controlMemory) = (256 << 10, 64 << 10) }, device: SimulatedDisk.instant())
        try world.change { definition in
            definition[EngineWorld.nqn]?.access = .hosts([Self.host.nqn, HostName(2).nqn, HostName(0xFE).nqn])
            definition[EngineWorld.nqn]?.authentication = AuthenticationDefinition(
                keys: [Self.host.nqn: keys],
                algorithms: AuthenticationAlgorithms(hashes: [.sha256], groups: [.ffdhe2048]))
        }
    }

    private func exchange() -> HostExchange {
        HostExchange(
            hostNQN: Self.host.nqn, subsystemNQN: EngineWorld.nqn, keys: keys,
            algorithms: AuthenticationAlgorithms(hashes: [.sha256], groups: [.ffdhe2048]), transaction: 3)
    }

    /// A queue on which the host has to show who it is.
    private func open() throws -> InProcessQueue {
        let queue = world.open()
        let connect = RawConnect(host: Self.host)
        try world.succeed(connect.command, .fromHost(connect.data), on: queue)
        return queue
    }

    private func send(_ bytes: [UInt8], on queue: InProcessQueue) throws {
        try world.succeed(.authentication(nvme_fabrics_type_auth_send, bytes.count), .fromHost(bytes), on: queue)
    }

    private func receive(_ length: Int, on queue: InProcessQueue) throws -> InProcessAnswer {
        try world.execute(
            .authentication(nvme_fabrics_type_auth_receive, length), .toHost(length), on: queue)
    }

    /// A byte of a Negotiate, its value, and the reason with which it is refused.
    @Test(
        "A Negotiate that counts more than it has, or wants a secure channel, is refused with the reason",
        arguments: [
            // NAPD: protocol descriptors. HALEN and DHLEN: identifiers in lists that have room for 30.
            (7, 2, 6), (7, 255, 6), (10, 31, 6), (10, 255, 6), (11, 31, 6), (11, 255, 6),
            // SC_C: a secure channel, which there is for TCP only.
            (6, 1, 3),
        ] as [(Int, UInt8, UInt8)])
    func counts(place: Int, value: UInt8, reason: UInt8) throws {
        let queue = try open()
        var exchange = exchange()
        var negotiate = exchange.begin()
        negotiate[place] = value
        try send(negotiate, on: queue)
        let answer = try receive(4096, on: queue)
        // Failure1 (AUTH_ID F1h) with its reason code.
        #expect(answer.data[1] == 0xF1 && answer.data[7] == reason)
        #expect(try world.execute(.enable, on: queue).status.code == 0x191, "Authentication Required")
    }

    @Test("A message that does not fit where the host wants it is not cut, and waits for one that has room")
    func shortAnswers() throws {
        let queue = try open()
        var exchange = exchange()
        try send(exchange.begin(), on: queue)
        // A challenge with a hash of 32 bytes and a public value of 256.
        for length in [1, 8, 16, 48, 303] {
            let answer = try receive(length, on: queue)
            #expect(answer.status.code == NVME_SC_INVALID_FIELD.rawValue, "\(length)")
            #expect(answer.data.allSatisfy { $0 == 0 }, "\(length)")
        }
        #expect(try receive(304, on: queue).isSuccess)
    }

    @Test("Behind a message there are zeroes, and nothing of others")
    func leftovers() throws {
        // All memory of the target holds this host's bytes before.
        let other = try world.attach(ioQueues: 1, host: 2)
        for _ in 0..<4 {
            for _ in 0..<16 {
                world.send(.io(nvme_cmd_write, 0, 32), .fromHost(.blocks(32, of: 0xEE)), on: other.io[0])
                world.send(.deallocate(ranges: 256), .fromHost(.blocks(8, of: 0xEE)), on: other.io[0])
            }
            world.settle()
        }
        for _ in 0..<64 {
            let connect = RawConnect { for index in 0..<1024 { $0[index] = 0xEE } }
            #expect(try !world.connect(connect, on: world.open()).isSuccess)
        }
        let queue = try open()
        var exchange = exchange()
        try send(exchange.begin(), on: queue)
        let answer = try receive(4096, on: queue)
        #expect(answer.isSuccess && answer.data.count == 4096)
        #expect(answer.data[304...].allSatisfy { $0 == 0 })
    }

    @Test("A comparison takes as long for a secret whose first byte is wrong as for one whose last is")
    func constantTime() throws {
        let count = 32 << 20
        let secret = Secret(byteCount: count) { _ in }
        let other = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 16)
        defer { other.deallocate() }
        other.initializeMemory(as: UInt8.self, repeating: 0)
        #expect(secret.equals(UnsafeRawBufferPointer(other)))
        /// The processor's time of a comparison, whatever else this machine does; the least of three.
        func nanoseconds(wrongAt place: Int) -> Int {
            other[place] = 1
            defer { other[place] = 0 }
            return (0..<3).map { _ in
                var (start, end) = (timespec(), timespec())
                clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start)
                let isSame = secret.equals(UnsafeRawBufferPointer(other))
                clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end)
                #expect(!isSame)
                return (end.tv_sec - start.tv_sec) * 1_000_000_000 + end.tv_nsec - start.tv_nsec
            }.min() ?? 0
        }
        // One that stops at the first difference takes no time at all for the first.
        let (first, last) = (nanoseconds(wrongAt: 0), nanoseconds(wrongAt: count - 1))
        #expect(first > last / 4, "\(first) ns, and \(last) ns")
    }

    @Test("A response with any byte wrong is refused", arguments: [0, 15, 31])
    func responses(place: Int) throws {
        let queue = try open()
        var exchange = exchange()
        try send(exchange.begin(), on: queue)
        let challenge = try receive(4096, on: queue).data
        guard case .send(var reply) = challenge.withUnsafeBytes({ exchange.received($0) }) else {
            throw WorldError("the host does not reply")
        }
        reply[16 + place] ^= 1
        try send(reply, on: queue)
        let answer = try receive(4096, on: queue)
        #expect(answer.data[1] == 0xF1 && answer.data[7] == 1, "authentication failed")
        #expect(try world.execute(.enable, on: queue).status.code == 0x191, "Authentication Required")
    }
}
