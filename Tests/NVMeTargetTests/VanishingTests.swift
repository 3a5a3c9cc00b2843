import CLibNVMe
import InProcessTransport
import NVMeTarget
import Simulation
import TargetInterface
import TargetTransport
import Testing

/// A host goes away while the target has requests of it in each of their states; any one message is lost; a host falls silent
/// halfway.
@Suite struct VanishingTests {
    /// The host says that it goes; its process dies, and the system says it; nobody says anything.
    enum Ending: String, CaseIterable, Sendable { case disconnect, destroy, powerLoss }

    /// A state of requests: what keeps them in it, how it shows at a port and its engine, and what the host does.
    struct Moment: Sendable, CustomTestStringConvertible {
        enum Brake: Sendable {
            case stuckDisk, slowFabric, oneReadAtATime, littleMemory, deepQueues
            /// The target hears late that the connection is established.
            case lateEstablishment
        }

        let testDescription: String
        let brakes: [Brake]
        let isReached: @Sendable (PoolUse) -> Bool
        let act: @Sendable (AttachedHost) -> Void

        init(
            _ name: String, _ brakes: Brake..., isReached: @escaping @Sendable (PoolUse) -> Bool,
            _ act: @escaping @Sendable (AttachedHost) -> Void
        ) {
            (testDescription, self.brakes, self.isReached, self.act) = (name, brakes, isReached, act)
        }
    }

    @Sendable private static func sendWrites(_ host: AttachedHost) {
        for _ in 0..<8 { _ = host.sendWrite(1, blocks: 64) }
    }

    static let moments = [
        // The Connect of its admin queue is there before the connection is.
        Moment("before established", .lateEstablishment, isReached: { $0.port.earlyCapsules > 0 }) { _ in },
        Moment("awaiting a buffer", .stuckDisk, .littleMemory, isReached: { $0[.awaitingBuffer] > 0 }) {
            $0.sendReads(8, blocks: 64)
        },
        Moment("awaiting a READ", .slowFabric, .oneReadAtATime, isReached: { $0.port.waitingFetches > 0 }, sendWrites),
        Moment("transferring", .slowFabric, .oneReadAtATime, isReached: { $0.port.runningFetches > 0 }, sendWrites),
        Moment("executing", .stuckDisk, isReached: { $0[.executing] > 0 }) { $0.sendReads(8, blocks: 8) },
        Moment("awaiting the device", .stuckDisk, .deepQueues, isReached: { $0.awaitsBlock }) { host in
            for _ in 0..<10 {
                host.sendReads(60, blocks: 1)
                host.world.pass(milliseconds: 1)
            }
        },
        Moment("held", isReached: { $0[.held] > 0 }) { $0.world.send(.event, on: $0.admin) },
        Moment("awaiting room to send", isReached: { $0.port.waitingAnswers > 0 }) { $0.takeNoAnswers() },
        Moment("answering", isReached: { $0.port.runningAnswers > 0 }) { $0.takeNoAnswers() },
        // The target has one half of a fused operation, or both.
        Moment("one half", isReached: { _ in true }) {
            $0.sendHalves(1)
            $0.world.pass(milliseconds: 1)
        },
        Moment("fetching halves", .slowFabric, isReached: { $0.port.runningFetches == 2 }) { $0.sendHalves() },
        Moment("halves awaiting a buffer", .stuckDisk, .littleMemory, isReached: { $0.awaitsBuffer }) { host in
            host.sendReads(8, blocks: 64)
            for _ in 0..<4 { host.sendHalves() }
        },
        Moment("executing halves", .stuckDisk, isReached: { $0[.executing] == 2 }) { $0.sendHalves() },
    ]

    @Test(arguments: moments, Ending.allCases) func everythingComesBack(_ moment: Moment, _ ending: Ending) throws {
        let isDeep = moment.brakes.contains(.deepQueues)
        let (world, disk) = try TargetWorld.onDisk(
            .small {
                if moment.brakes.contains(.littleMemory) { $0.dataMemory = 64 << 10 }
                if isDeep { ($0.queueDepth, $0.sharedReceiveEntries) = (1024, 1024) }
            })
        let audit = try world.audit()
        let host = world.addHost()
        if moment.brakes.contains(.lateEstablishment) {
            let device = host.device.name
            world.network.fate = {
                $0.kind == .readyToUse && $0.source == device ? .delayed(nanoseconds: 50_000_000) : .delivered
            }
            world.send(RawConnect(host: host.name), on: try world.open(host))
        } else {
            let victim = try world.attach(host, keepAlive: 1000, entries: isDeep ? 1024 : 32) {
                if moment.brakes.contains(.oneReadAtATime) { $0.responderResources = 1 }
            }
            disk.behaviour.isStuck = moment.brakes.contains(.stuckDisk)
            if moment.brakes.contains(.slowFabric) { world.slowDown(milliseconds: 1) }
            moment.act(victim)
        }
        try world.wait("a request \(moment.testDescription)") { moment.isReached(world.use) }
        host.end(ending)
        disk.behaviour.isStuck = false
        world.network.fate = nil
        world.slowDown(milliseconds: nil)
        audit.end("\(moment.testDescription), \(ending)", within: 7000)
    }

    /// A visit of a host with the loss of the message of that number, if there are as many.
    private func visit(groups: Int, losing step: UInt64) throws -> Bool {
        let (world, audit) = try TargetWorld(groups: groups, network: SimulatedNetwork(seed: step + 1)).audited()
        let host = world.addHost()
        let lost = world.network.counters.messages + step
        var wasLost = false
        world.network.fate = { message in
            if message.step == lost { wasLost = true }
            return message.step == lost ? .lost : .delivered
        }
        // A step that the host cannot do after the loss is no failure.
        try? session(world, host)
        host.destroyAll()
        world.pass(milliseconds: 10)
        world.network.fate = nil
        audit.end("message \(step), \(groups) reactors", within: 60_000)
        return wasLost
    }

    private func session(_ world: TargetWorld, _ host: RawHost) throws {
        let attached = try world.attach(host, ioQueues: 2, keepAlive: 1000)
        world.send(.event, on: attached.admin)
        for queue in attached.io {
            queue.pieces = [4096]
            try world.execute(.io(nvme_cmd_write, 0, 16), .fromHost(.blocks(16, of: 1)), on: queue)
            try world.execute(.io(nvme_cmd_read, 0, 16), .toHost(8192), on: queue)
        }
        for queue in host.queues { queue.disconnect() }
    }

    @Test(arguments: [1, 2]) func theLossOfAnyMessageLeavesNothingBehind(groups: Int) throws {
        var step: UInt64 = 0
        while try visit(groups: groups, losing: step) { step += 1 }
        #expect(step > 40, "a visit has more messages than \(step)")
    }

    /// A host that had no power any more before the target heard that it was connected.
    @Test func aHostThatNeverConnectsIsEnded() throws {
        let (world, audit) = try TargetWorld().audited()
        let dark = world.addHost()
        world.network.fate = { $0.kind == .readyToUse ? .lost : .delivered }
        _ = try world.open(dark)
        world.network.fate = nil
        dark.device.isReachable = false
        world.pass(milliseconds: 60_000)
        #expect(audit.witness.admin.isOpen, "a host that has connected may be silent")
        audit.end()
    }
}

extension PoolUse { fileprivate subscript(state: RequestState) -> Int { requests[state] ?? 0 } }

extension AttachedHost {
    fileprivate func sendReads(_ count: Int, blocks: Int) { for _ in 0..<count { _ = sendRead(blocks: blocks) } }
    fileprivate func sendHalves(_ count: Int = 2) {
        for (opcode, flags) in [(nvme_cmd_compare, 0x41), (nvme_cmd_write, 0x42)].prefix(count) {
            send(.io(opcode, flags: UInt8(flags)), .fromHost(.blocks(of: 0)))
        }
    }

    /// Without receive buffers nothing that the target sends is taken.
    fileprivate func takeNoAnswers() {
        io[0].repostsReceives = false
        io[0].pieces = Array(repeating: 512, count: 15)
        for _ in 0..<RawQueue.responseCount + 24 {
            sendReads(1, blocks: 16)
            world.pass(milliseconds: 1)
        }
    }
}
