import Base
import CLibNVMe
import InProcessTransport
import MemoryBlock
import NVMeSpec
import NVMeTarget
import TargetInterface
import Testing

/// Two targets can serve one subsystem to a host: each says by which of its listeners the namespaces are to be used, and gives
/// its controllers identifiers that the other does not give.
@Suite struct ListenerAccessTests {
    private static let first = SocketAddress(host: "192.0.2.1", port: 4420)
    private static let second = SocketAddress(host: "192.0.2.2", port: 4420)
    private static let everywhere = SocketAddress(host: "0.0.0.0", port: 4421)

    /// States that are set, and what hosts at two listeners see: the number in the log, and the status of a read (type 3h, path
    /// related; libnvme's `nvme_ana_state` and status codes).
    struct Rule: Sendable, CustomTestStringConvertible {
        var testDescription: String
        /// At the first listener, at the second, at all.
        var states: (first: ANAState?, second: ANAState?, all: ANAState?)
        var logged: [UInt8]
        var statuses: [UInt32]
    }

    static let rules = [
        Rule(testDescription: "nothing is set", states: (nil, nil, nil), logged: [1, 1], statuses: [0, 0]),
        Rule(testDescription: "all", states: (nil, nil, .inaccessible), logged: [3, 3], statuses: [0x302, 0x302]),
        Rule(
            testDescription: "one listener", states: (nil, .inaccessible, nil), logged: [1, 3], statuses: [0, 0x302]),
        Rule(
            testDescription: "each its own", states: (.nonOptimized, .change, nil), logged: [2, 15],
            statuses: [0, 0x303]),
        Rule(
            testDescription: "a listener's own counts before all", states: (.optimized, nil, .persistentLoss),
            logged: [1, 4], statuses: [0, 0x301]),
    ]

    private func state(_ world: EngineWorld, _ host: EngineHost) throws -> UInt8 {
        let log = RawCommand.getLog(NVME_LOG_LID_ANA, bytes: 16 + 36)
        return try world.execute(log, .toHost(16 + 36), on: host.admin).data[16 + 16]
    }

    private func read(_ world: EngineWorld, _ host: EngineHost) throws -> UInt32 {
        let read = RawCommand(opcode: nvme_cmd_read.rawValue, nsid: 1).range(0, 1)
        return try world.execute(read, .toHost(512), on: host.io[0]).completion.status.code
    }

    @Test(arguments: rules) func statesAreSeenByListener(_ rule: Rule) throws {
        let world = try EngineWorld()
        let (first, second) = (try #require(Self.first), try #require(Self.second))
        try world.change { $0.listeners = [first, second] }
        // One queue is there before, and one comes after.
        let hosts = [try world.attach(at: first), try world.attach(at: second)]
        let states: [ANAGroupPlace: ANAState?] = [
            ANAGroupPlace(group: 1, listener: first): rule.states.first,
            ANAGroupPlace(group: 1, listener: second): rule.states.second,
            ANAGroupPlace(group: 1): rule.states.all,
        ]
        try world.change { $0[EngineWorld.nqn]?.anaStates = states.compactMapValues { $0 } }
        for (place, host) in (hosts + [try world.attach(at: first), try world.attach(at: second)]).enumerated() {
            #expect(try state(world, host) == rule.logged[place % 2])
            #expect(try read(world, host) == rule.statuses[place % 2])
        }
        // Taken back, all is as at first.
        try world.change { $0[EngineWorld.nqn]?.anaStates = [:] }
        for host in hosts {
            #expect(try state(world, host) == 1)
            #expect(try read(world, host) == 0)
        }
    }

    /// Only hosts of the listener whose state has changed are told.
    @Test func hostsOfOtherListenersAreNotTold() throws {
        let world = try EngineWorld()
        let (first, second) = (try #require(Self.first), try #require(Self.second))
        try world.change { $0.listeners = [first, second] }
        let hosts = [try world.attach(at: first), try world.attach(at: second)]
        // Bit 11: asymmetric namespace access change notices.
        let requests = try hosts.map { host in
            try world.execute(.setFeature(NVME_FEAT_FID_ASYNC_EVENT, 1 << 11), on: host.admin)
            return world.send(RawCommand(opcode: nvme_admin_async_event.rawValue), on: host.admin)
        }
        try world.change {
            $0[EngineWorld.nqn]?.anaStates[ANAGroupPlace(group: 1, listener: second)] = .inaccessible
        }
        #expect(world.answer(to: requests[0], on: hosts[0].admin) == nil)
        #expect(world.answer(to: requests[1], on: hosts[1].admin)?.completion.dword0 == 0x000C_0302)
    }

    /// A listener for every address of the machine is one listener, whatever address a host uses.
    @Test func aListenerForAllAddressesIsOne() throws {
        let world = try EngineWorld()
        let everywhere = try #require(Self.everywhere)
        try world.change { $0.listeners = [everywhere] }
        let host = try world.attach(at: SocketAddress(host: "192.0.2.77", port: 4421))
        try world.change {
            $0[EngineWorld.nqn]?.anaStates[ANAGroupPlace(group: 1, listener: everywhere)] = .inaccessible
        }
        #expect(try state(world, host) == 3)
    }

    /// Ranges of identifiers, and those that so many controllers get.
    @Test(arguments: [(1...3, 3), (100...101, 2), (0xFFEF...0xFFEF, 1), (7...40, 20)] as [(ClosedRange<UInt16>, Int)])
    func controllersHaveIdentifiersOfTheirRange(_ range: ClosedRange<UInt16>, _ count: Int) throws {
        let world = try EngineWorld()
        let before = try world.attach().controllerID
        try world.change { $0[EngineWorld.nqn]?.controllerIDs = range }
        // One that is there from before keeps its own, within the range or not.
        let free = range.contains(before) ? count - 1 : count
        let identifiers = try (0..<free).map { _ in try world.attach().controllerID }
        #expect(Set(identifiers + [before]).count == free + 1 && identifiers.allSatisfy(range.contains))
        guard count == range.count else { return }
        // No identifier is left: the host may try again later, and another target may have one (Connect, Controller Busy).
        let refused = try world.connect(EngineConnect(), on: world.open())
        #expect(refused.status == .specific(NVME_SC_CONNECT_CTRL_BUSY))
    }
}
