import InProcessTransport
import NVMeTarget
import TargetTransport
import Testing

/// New queues go to reactors at the NUMA node of their device, and are spread over these.
@Suite struct QueuePlacementTests {
    /// A queue that comes, and the reactor that it is expected at.
    struct Arrival: Sendable {
        var isAdmin = false
        var node: Int?
        var reactor: Int
    }

    struct Row: Sendable, CustomTestStringConvertible {
        var testDescription: String
        /// The reactors' nodes, the I/O queues that each has at first, and the room of each.
        var nodes: [Int?]
        var held: [Int] = []
        var capacity = 16
        var arrivals: [Arrival]
    }

    static func io(_ node: Int?, at reactors: Int...) -> [Arrival] { reactors.map { Arrival(node: node, reactor: $0) } }

    static func admin(_ node: Int?, at reactors: Int...) -> [Arrival] {
        reactors.map { Arrival(isAdmin: true, node: node, reactor: $0) }
    }

    static let table = [
        Row(testDescription: "one reactor has all", nodes: [nil], arrivals: io(1, at: 0, 0) + admin(nil, at: 0)),
        Row(testDescription: "alike ones take turns", nodes: [nil, nil, nil], arrivals: io(nil, at: 0, 1, 2, 0, 1)),
        Row(
            testDescription: "each device's queues go to its node", nodes: [0, 0, 1, 1],
            arrivals: io(1, at: 2, 3, 2) + io(0, at: 0, 1) + io(1, at: 3)),
        Row(
            testDescription: "admin queues too, and are counted apart", nodes: [0, 0, 1, 1],
            arrivals: admin(1, at: 2) + io(1, at: 2) + admin(1, at: 3) + io(1, at: 3)),
        Row(
            testDescription: "a device whose node is not known uses all reactors", nodes: [0, 1],
            arrivals: io(nil, at: 0, 1, 0)),
        Row(
            testDescription: "a device at a node without a reactor uses all reactors", nodes: [0, 1],
            arrivals: io(7, at: 0, 1, 0)),
        Row(
            testDescription: "reactors whose node is not known are used by all devices alike", nodes: [nil, nil],
            arrivals: io(1, at: 0, 1)),
        Row(
            testDescription: "the one with the fewest queues", nodes: [0, 0, 0], held: [3, 1, 2],
            arrivals: io(0, at: 1, 2, 1, 2, 0, 1)),
        Row(
            testDescription: "a far one is not used however idle it is", nodes: [0, 1, 1], held: [0, 9, 8],
            arrivals: io(1, at: 2, 1, 2)),
        Row(
            testDescription: "a far one is used when those of the node are full", nodes: [0, 1, 1], held: [1, 3, 4],
            capacity: 4, arrivals: io(1, at: 1, 0, 0)),
        Row(
            testDescription: "all are full: the device may still have room, at the node first", nodes: [0, 1],
            held: [4, 4], capacity: 4, arrivals: io(1, at: 1)),
    ]

    @Test(arguments: table) func chooses(_ row: Row) {
        var placement = QueuePlacement(capacity: row.capacity)
        for node in row.nodes { placement.add(node: node) }
        for (reactor, count) in row.held.enumerated() { placement.note(ConnectionCounts(io: count), of: reactor) }
        for (number, arrival) in row.arrivals.enumerated() {
            let chosen = placement.choose(isAdmin: arrival.isAdmin, near: arrival.node)
            #expect(chosen == arrival.reactor, "queue \(number)")
        }
    }

    @Test("A queue that was refused, or has ended, counts no more")
    func ended() {
        var placement = QueuePlacement(capacity: 16)
        for _ in 0..<2 { placement.add(node: nil) }
        // Both are on their way; the first is taken, the second is refused.
        #expect(placement.choose(isAdmin: false, near: nil) == 0)
        #expect(placement.choose(isAdmin: false, near: nil) == 1)
        placement.settle(0, isAdmin: false, held: ConnectionCounts(io: 1))
        placement.settle(1, isAdmin: false, held: ConnectionCounts())
        #expect(placement.choose(isAdmin: false, near: nil) == 1)
        placement.settle(1, isAdmin: false, held: ConnectionCounts(io: 1))
        #expect(placement.choose(isAdmin: false, near: nil) == 0)
        // The first's have ended.
        placement.settle(0, isAdmin: false, held: ConnectionCounts(io: 2))
        placement.note(ConnectionCounts(), of: 0)
        #expect(placement.choose(isAdmin: false, near: nil) == 0)
    }

    @Test("A target's reactors get the queues of their nodes' devices, also where hosts go away")
    func served() throws {
        let world = try EngineWorld(nodes: [0, 1, 1])
        func connect(_ queues: UInt16, node: Int?) -> [InProcessQueue] {
            (0...queues).map { world.open(queueID: $0, node: node) }
        }
        let far = connect(3, node: 1)
        #expect(world.ioQueues == [0, 2, 1])
        _ = connect(2, node: 0)
        #expect(world.ioQueues == [2, 2, 1])
        for queue in far { queue.disconnect() }
        #expect(world.run(milliseconds: 6000) { world.ioQueues == [2, 0, 0] })
        // Reactors tell what they have with their ticks, each 100 ms.
        world.run(milliseconds: 200) { false }
        _ = connect(2, node: 1)
        #expect(world.ioQueues == [2, 1, 1])
    }
}
