import BlockInterface
import CLibNVMe
import FabricInterface
import InProcessTransport
import NVMeTarget
import Simulation
import TargetInterface
import TargetTransport
import Testing

/// A host goes away while the target has requests of it in each of their states.
@Suite struct VanishingTests {
    enum Moment: String, CaseIterable, Sendable {
        case beforeEstablished
        case awaitingBuffer
        case awaitingRead
        case transferring
        case executing
        case awaitingBlock
        case held
        case awaitingSend
        case responding
        /// The target has one half of a fused operation, or both.
        case oneHalf, fetchingHalves, halvesAwaitingBuffer, executingHalves

        /// A port and its engine have a request, or a capsule, at this moment of its life.
        func isReached(_ use: PoolUse) -> Bool {
            switch self {
            case .beforeEstablished: use.port.earlyCapsules > 0
            case .awaitingBuffer: use.requests[.awaitingBuffer] ?? 0 > 0
            case .awaitingRead: use.port.waitingFetches > 0
            case .transferring: use.port.runningFetches > 0
            case .executing: use.requests[.executing] ?? 0 > 0
            case .awaitingBlock: use.awaitsBlock
            case .held: use.requests[.held] ?? 0 > 0
            case .awaitingSend: use.port.waitingAnswers > 0
            case .responding: use.port.runningAnswers > 0
            case .oneHalf: true
            case .fetchingHalves: use.port.runningFetches == 2
            case .halvesAwaitingBuffer: use.awaitsBuffer
            case .executingHalves: use.requests[.executing] ?? 0 == 2
            }
        }
    }

    enum Ending: String, CaseIterable, Sendable {
        /// The host says that it goes.
        case disconnect
        /// Its process dies: the system says it.
        case destroy
        /// Nobody says anything.
        case powerLoss
    }

    @Test(arguments: Moment.allCases, Ending.allCases)
    func everythingComesBack(_ moment: Moment, _ ending: Ending) throws {
        let scene = try Scene(moment)
        let world = scene.world
        let before = try world.baseline()
        let bad = world.addHost()
        try scene.act(bad)
        try world.wait("a request \(moment.rawValue)") { scene.isReached }
        bad.end(ending)
        scene.release()
        world.expectPools(before, "\(moment), \(ending)", within: 7000)
        scene.witness.expectServed("\(moment), \(ending)")
    }
}

/// A world in which requests stay in one state, and the host whose requests they are.
private final class Scene {
    let moment: VanishingTests.Moment
    let world: TargetWorld
    let witness: AttachedHost
    private let disk: SimulatedDisk

    init(_ moment: VanishingTests.Moment) throws {
        self.moment = moment
        (world, disk) = try TargetWorld.onDisk(
            .small {
                if moment == .awaitingBuffer || moment == .halvesAwaitingBuffer { $0.dataMemory = 64 << 10 }
                if moment == .awaitingBlock { ($0.queueDepth, $0.sharedReceiveEntries) = (1024, 1024) }
            })
        witness = try world.attach()
    }

    /// Lets the host do what brings its requests into the state.
    func act(_ host: RawHost) throws {
        if moment == .beforeEstablished {
            let device = host.device.name
            world.network.fate = { message in
                message.kind == .readyToUse && message.source == device ? .delayed(nanoseconds: 50_000_000) : .delivered
            }
            let connect = RawConnect(host: host.name)
            world.send(connect.command, .fromHost(connect.data), on: try world.open(host))
            return
        }
        let isSlow = [.awaitingRead, .transferring].contains(moment)
        let victim = try world.attach(host, keepAlive: 1000, entries: moment == .awaitingBlock ? 1024 : 32) {
            if isSlow { $0.responderResources = 1 }
        }
        func halves(_ count: Int = 2) {
            for (opcode, flags) in [(nvme_cmd_compare, 0x41), (nvme_cmd_write, 0x42)].prefix(count) {
                world.send(
                    .io(opcode, flags: UInt8(flags)), .fromHost(.init(repeating: 0, count: 512)), on: victim.io[0])
            }
        }
        func reads(_ count: Int, blocks: Int) { for _ in 0..<count { _ = victim.sendRead(blocks: blocks) } }
        if [.executing, .executingHalves, .awaitingBlock, .awaitingBuffer, .halvesAwaitingBuffer].contains(moment) {
            disk.behaviour.isStuck = true
        }
        if isSlow || moment == .fetchingHalves { world.slowDown(milliseconds: 1) }
        switch moment {
        case .beforeEstablished: break
        case .oneHalf:
            halves(1)
            world.pass(milliseconds: 1)
        case .fetchingHalves, .executingHalves: halves()
        case .halvesAwaitingBuffer:
            reads(8, blocks: 64)
            for _ in 0..<4 { halves() }
        case .awaitingBuffer: reads(8, blocks: 64)
        case .awaitingRead, .transferring: for _ in 0..<8 { _ = victim.sendWrite(1, blocks: 64) }
        case .executing: reads(8, blocks: 8)
        case .awaitingBlock:
            for _ in 0..<10 {
                reads(60, blocks: 1)
                world.pass(milliseconds: 1)
            }
        case .held: world.send(.event, on: victim.admin)
        case .awaitingSend, .responding:
            // Without receive buffers nothing that the target sends is taken.
            victim.io[0].repostsReceives = false
            victim.io[0].pieces = Array(repeating: 512, count: 15)
            for _ in 0..<RawQueue.responseCount + 24 {
                reads(1, blocks: 16)
                world.pass(milliseconds: 1)
            }
        }
    }

    /// The victim has a request in the state.
    var isReached: Bool { world.groups.flatMap(\.poolUse).contains(where: moment.isReached) }

    /// Lets the world go on as usual.
    func release() {
        disk.behaviour.isStuck = false
        world.network.fate = nil
        world.slowDown(milliseconds: nil)
    }
}
