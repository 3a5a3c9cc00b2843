import BlockInterface
import CLibNVMe
import FabricInterface
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
        let bad = try scene.victim()
        try scene.act(bad)
        try world.wait("a request \(moment.rawValue)") { scene.isReached }
        bad.end(ending)
        scene.release()
        world.simulation.run(forNanoseconds: 7_000_000_000) { world.pools == before }
        #expect(world.pools == before, "\(moment), \(ending), seed \(world.network.seed)")
        world.expectServed(scene.witness, "\(moment), \(ending)")
    }
}

/// A world in which requests stay in one state, and the host whose requests they are.
private final class Scene {
    let moment: VanishingTests.Moment
    let world: TargetWorld
    let witness: AttachedHost
    private let disk: SimulatedDisk
    private var victimName = ""

    init(_ moment: VanishingTests.Moment) throws {
        self.moment = moment
        var options = TargetWorld.smallOptions
        if moment == .awaitingBuffer || moment == .halvesAwaitingBuffer { options.dataMemory = 64 << 10 }
        if moment == .awaitingBlock {
            options.queueDepth = 1024
            options.sharedReceiveEntries = 1024
        }
        (world, disk) = try TargetWorld.onDisk(options: options)
        witness = try world.attach()
    }

    func victim() throws -> RawHost {
        let host = world.addHost()
        victimName = host.device.name
        return host
    }

    /// Lets the host do what brings its requests into the state.
    func act(_ host: RawHost) throws {
        if moment == .beforeEstablished {
            let name = victimName
            world.network.fate = { message in
                message.kind == .readyToUse && message.source == name ? .delayed(nanoseconds: 50_000_000) : .delivered
            }
            let queue = try world.open(host)
            queue.send(RawConnect(host).command)
            return
        }
        let (admin, id) = try world.admin(host, keepAlive: 1000)
        guard try world.execute(admin, .setFeature(NVME_FEAT_FID_NUM_QUEUES, 0)).isSuccess else {
            throw WorldError("Number of Queues")
        }
        var options = RawQueueOptions()
        if moment == .awaitingRead || moment == .transferring { options.responderResources = 1 }
        if moment == .awaitingBlock { options.hostSendQueueSize = 1023 }
        let queue = try world.io(host, id, options: options, sqSize: options.hostSendQueueSize)
        let offset = host.allocate(65536)
        func command(_ opcode: nvme_io_opcode, _ blocks: Int) -> RawCommand {
            RawCommand.io(opcode, 0, blocks).at(host, offset, blocks * 512)
        }
        func halves(_ count: Int = 2) {
            for half in [(nvme_cmd_compare, 0x41), (nvme_cmd_write, 0x42)].prefix(count) {
                queue.send(.io(half.0, flags: UInt8(half.1)).at(host, offset, 512))
            }
        }
        switch moment {
        case .beforeEstablished: break
        case .oneHalf:
            halves(1)
            world.pass(milliseconds: 1)
        case .fetchingHalves:
            world.network.delays.transit = 1_000_000...1_000_000
            halves()
        case .halvesAwaitingBuffer:
            disk.behaviour.isStuck = true
            for _ in 0..<8 { queue.send(command(nvme_cmd_read, 64)) }
            for _ in 0..<4 { halves() }
        case .executingHalves:
            disk.behaviour.isStuck = true
            halves()
        case .awaitingBuffer:
            disk.behaviour.isStuck = true
            for _ in 0..<8 { queue.send(command(nvme_cmd_read, 64)) }
        case .awaitingRead, .transferring:
            world.network.delays.transit = 1_000_000...1_000_000
            for _ in 0..<8 { queue.send(command(nvme_cmd_write, 64)) }
        case .executing:
            disk.behaviour.isStuck = true
            for _ in 0..<8 { queue.send(command(nvme_cmd_read, 8)) }
        case .awaitingBlock:
            disk.behaviour.isStuck = true
            for _ in 0..<10 {
                for _ in 0..<60 { queue.send(command(nvme_cmd_read, 1)) }
                world.pass(milliseconds: 1)
            }
        case .held: admin.send(.event)
        case .awaitingSend, .responding:
            // Without receive buffers nothing that the target sends is taken.
            queue.repostsReceives = false
            let list = (0..<16).flatMap { host.keyed(offset + $0 * 512, 512) }
            let read = RawCommand.io(nvme_cmd_read, 0, 16).with(sgl: RawSGL.offset(0, length: 256, type: 0x31))
            for _ in 0..<RawQueue.responseCount + 24 {
                queue.send(read, data: list)
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
        world.network.delays = SimulatedDelays()
    }
}
