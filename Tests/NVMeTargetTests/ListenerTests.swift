import Base
import CLibNVMe
import InProcessTransport
import NVMeSpec
import NVMeTarget
import TargetInterface
import Testing

/// Two targets can serve one subsystem to a host: each says by which of its listeners the namespaces are to be used, and gives
/// its controllers identifiers that the other does not give. And an address can go away under a target that listens there.
@Suite struct ListenerTests {
    private static let (first, second) = (EngineWorld.address(4420), SocketAddress(host: "192.0.2.2", port: 4420)!)
    private let world: EngineWorld

    init() throws {
        world = try EngineWorld()
        try world.change { $0.listeners = [Self.first, Self.second] }
        #expect(world.transport.listeners == [Self.first, Self.second])
    }

    /// States that are set, and what hosts at two listeners see: the number in the log, and the status of a read (type 3h, path
    /// related; libnvme's `nvme_ana_state` and status codes).
    struct Rule: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var states: [ANAGroupPlace: ANAState]
        var logged: [UInt8]
        var statuses: [UInt32]

        /// - Parameter states: at the first listener, at the second, at all.
        init(_ name: String, _ states: (ANAState?, ANAState?, ANAState?), logged: [UInt8], statuses: [UInt32]) {
            (testDescription, self.logged, self.statuses) = (name, logged, statuses)
            self.states = [
                ANAGroupPlace(group: 1, listener: first): states.0, ANAGroupPlace(group: 1, listener: second): states.1,
                ANAGroupPlace(group: 1): states.2,
            ].compactMapValues { $0 }
        }
    }

    static let rules = [
        Rule("nothing is set", (nil, nil, nil), logged: [1, 1], statuses: [0, 0]),
        Rule("all", (nil, nil, .inaccessible), logged: [3, 3], statuses: [0x302, 0x302]),
        Rule("one listener", (nil, .inaccessible, nil), logged: [1, 3], statuses: [0, 0x302]),
        Rule("each its own", (.nonOptimized, .change, nil), logged: [2, 15], statuses: [0, 0x303]),
        Rule("its own before all", (.optimized, nil, .persistentLoss), logged: [1, 4], statuses: [0, 0x301]),
    ]

    /// The count of changes in the ANA log that a host reads, and the state of the one group: the group's identifier, one
    /// namespace, the state, and the namespace.
    private func log(_ host: EngineHost) throws -> (changes: UInt64, state: UInt8) {
        let page = try world.log(NVME_LOG_LID_ANA, 16 + 36, on: host.admin)
        #expect([(8, 2), (16, 4), (20, 4), (48, 4)].map { page.number($0, $1) } == [1, 1, 1, 1])
        return (page.number(0, 8), page[32])
    }

    @Test(arguments: rules) func statesAreSeenByListener(_ rule: Rule) throws {
        // One queue is there before, and one comes after.
        var hosts = [try world.attach(at: Self.first), try world.attach(at: Self.second)]
        var changes = try log(hosts[0]).changes
        try world.change { $0[EngineWorld.nqn]?.anaStates = rule.states }
        hosts += [try world.attach(at: Self.first), try world.attach(at: Self.second)]
        for (place, host) in hosts.enumerated() {
            let seen = try log(host)
            #expect(seen.state == rule.logged[place % 2] && (seen.state == 1 || seen.changes > changes))
            #expect(host.status(of: host.sendRead()) == RawStatus(code: rule.statuses[place % 2]), "another path may")
        }
        changes = try log(hosts[0]).changes
        try world.change { $0[EngineWorld.nqn]?.anaStates = [:] }
        for host in hosts {
            let seen = try log(host)
            #expect(seen.state == 1 && (rule.states.isEmpty || seen.changes > changes))
            #expect(host.status(of: host.sendRead()) == .success)
        }
    }

    @Test func hostsOfOtherListenersAreNotTold() throws {
        let hosts = [try world.attach(at: Self.first), try world.attach(at: Self.second)]
        // Bit 11: asymmetric namespace access change notices.
        let requests = try hosts.map { host in
            try host.manage(.setFeature(NVME_FEAT_FID_ASYNC_EVENT, 1 << 11))
            return world.send(.event, on: host.admin)
        }
        try world.setANAState(.inaccessible, at: Self.second)
        #expect(world.answer(to: requests[0], on: hosts[0].admin) == nil)
        #expect(world.answer(to: requests[1], on: hosts[1].admin)?.dword0 == 0x000C_0302)
    }

    @Test func aListenerForAllAddressesIsOne() throws {
        let everywhere = try #require(SocketAddress(host: "0.0.0.0", port: 4421))
        try world.change { $0.listeners = [everywhere] }
        let host = try world.attach(at: SocketAddress(host: "192.0.2.77", port: 4421))
        try world.setANAState(.inaccessible, at: everywhere)
        #expect(try log(host).state == 3)
    }

    /// Ranges of identifiers, and those that so many controllers get.
    @Test(arguments: [(1...3, 3), (100...101, 2), (0xFFEF...0xFFEF, 1), (7...40, 20)] as [(ClosedRange<UInt16>, Int)])
    func controllersHaveIdentifiersOfTheirRange(_ range: ClosedRange<UInt16>, _ count: Int) throws {
        let before = try world.attach().controllerID
        try world.change { $0[EngineWorld.nqn]?.controllerIDs = range }
        // One that is there from before keeps its own, within the range or not.
        let free = range.contains(before) ? count - 1 : count
        let identifiers = try (0..<free).map { _ in try world.attach().controllerID }
        #expect(Set(identifiers + [before]).count == free + 1 && identifiers.allSatisfy(range.contains))
        guard count == range.count else { return }
        // No identifier is left: the host may try again later, and another target may have one (Connect, Controller Busy).
        let refused = try world.connect(RawConnect(), on: world.open())
        #expect(refused.status == .specific(NVME_SC_CONNECT_CTRL_BUSY))
    }

    /// Applies the same definition once more; the parts that are missing then.
    private func applyAgain() throws -> [TargetPart] {
        try world.state.change { _ in }
        try world.proceed()
        return world.state.report.missing.map(\.part)
    }

    @Test func theNextReloadListensAgainWhereItIsWanted() throws {
        world.transport.remove(Self.second)
        world.settle()
        #expect(world.target.lostListeners == [Self.second])
        #expect(try applyAgain() == [.listener(Self.second)])
        #expect(world.transport.listeners == [Self.first])
        world.transport.absent = []
        #expect(try applyAgain() == [] && world.state.report.done == ["listener \(Self.second) added"])
        #expect(world.transport.listeners == [Self.first, Self.second])
        #expect(world.target.lostListeners == [])
        #expect(try applyAgain() == [] && world.state.report.done == [])
        // One that is not wanted any more is forgotten.
        world.transport.remove(Self.first)
        world.settle()
        try world.change { $0.listeners = [Self.second] }
        #expect(world.target.lostListeners == [])
        world.transport.absent = []
        try world.change { $0.listeners = [Self.first, Self.second] }
        #expect(Set(world.transport.listeners) == [Self.first, Self.second])
    }

    @Test func oneThatIsLostMeanwhileIsNotTakenForOneThatIsThere() throws {
        try world.state.change { $0[EngineWorld.nqn] = nil }
        world.transport.remove(Self.first)
        try world.proceed()
        #expect(world.target.lostListeners == [Self.first])
        world.transport.absent = []
        #expect(try applyAgain() == [])
        #expect(Set(world.transport.listeners) == [Self.first, Self.second])
    }
}
