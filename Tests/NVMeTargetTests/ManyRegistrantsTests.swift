import CLibNVMe
import InProcessTransport
import NVMeTarget
import Simulation
import TargetInterface
import Testing

/// As many hosts are registered with a namespace as there may be, and more are connected than a machine word has bits.
@Suite struct ManyRegistrantsTests {
    /// The README's limit.
    private static let most = 4096
    private let register = NVME_RESERVATION_RREGA_REGISTER_KEY
    private let preempt = NVME_RESERVATION_RACQA_PREEMPT
    private let persist = ReservingHost.persistence(NVME_RESERVATION_CPTPL_PERSIST)

    private func world(_ store: KeptReservations? = nil) throws -> EngineWorld {
        let world = try EngineWorld(.small { $0.controlMemory = 1 << 20 }, reservations: store)
        try world.add(EngineWorld.namespace(2, SimulatedDisk.instant()))
        return world
    }

    private func attach(_ number: Int, _ world: EngineWorld) throws -> ReservingHost {
        let name = HostName(nqn: "\(HostName.plain)-\(number)", number: number)
        return ReservingHost(try world.attach(host: name), nsid: 2)
    }

    /// Hosts that register a key, which is their number, and go.
    private func pass(_ numbers: ClosedRange<Int>, _ world: EngineWorld, flags: UInt32 = 0) throws {
        for number in numbers {
            let host = try attach(number, world)
            try #require(host.register(register, new: UInt64(number), flags: flags) == .success, "host \(number)")
            host.host.leave()
            // The target gives the places of connections that have ended back once in a while.
            if number % 200 == 0 { world.pass(milliseconds: 300) }
        }
    }

    private func expectAll(_ report: ReservingHost.Report, holder: UInt64, present: [ReservingHost]) {
        #expect(report.registrants.count == Self.most)
        #expect(report.keys == Set((1...Self.most).map { UInt64($0) }) && report.holders == [holder])
        #expect(report.registrants.allSatisfy { $0.hostID == little($0.key, 16) })
        let there = Dictionary(uniqueKeysWithValues: present.map { ($0.host.name.id, $0.host.controllerID) })
        #expect(report.registrants.allSatisfy { $0.controllerID == there[$0.hostID] ?? 0xFFFF })
    }

    /// All are reported, however much of the report is read; one more is refused; and all are there after a loss of power.
    @Test func thousandsAreRegisteredReportedAndKept() throws {
        let store = KeptReservations()
        var world = try world(store)
        try pass(3...Self.most, world, flags: persist)
        let (holder, other) = (try attach(1, world), try attach(2, world))
        try holder.join(1)
        try other.join(2)
        try holder.hold(NVME_RESERVATION_RTYPE_EARO, key: 1)
        // 64 bytes for the head and for each registrant; then what lies behind is zero, and what is not asked for is not sent.
        let whole = 64 * (Self.most + 1)
        expectAll(try holder.report(bytes: whole), holder: 1, present: [holder, other])
        expectAll(try holder.report(bytes: 300_000), holder: 1, present: [holder, other])
        let full = try world.succeed(ReservingHost.report(nsid: 2, bytes: whole), .toHost(whole), on: holder.host.io[0])
        for bytes in [64, 4096, 100_000] {
            let part = try world.succeed(
                ReservingHost.report(nsid: 2, bytes: bytes), .toHost(bytes), on: other.host.io[0])
            #expect(part.data == Array(full.data[..<bytes]), "\(bytes) bytes")
        }
        let late = try attach(Self.most + 1, world)
        #expect(late.register(register, new: 7) == .specific(NVME_SC_INSUFFICIENT_CAP))
        #expect(try late.access() == .none && holder.access() == .all && other.access() == .all)

        world = try self.world(store)
        let stranger = try attach(Self.most + 1, world)
        expectAll(try stranger.report(bytes: whole), holder: 1, present: [])
        #expect(try stranger.access() == .none)
        for number in [1, 64, 65, 2048, Self.most] {
            #expect(try attach(number, world).access() == .all, "host \(number)")
        }
    }

    /// One preempts all others at once: each is told, and none may write any more.
    @Test func thousandsArePreemptedAtOnce() throws {
        let world = try world()
        try pass(201...Self.most, world)
        let hosts = try (1...200).map { try attach($0, world) }
        for (place, host) in hosts.enumerated() { try host.join(UInt64(place + 1)) }
        try hosts[0].hold(NVME_RESERVATION_RTYPE_EAAR, key: 1)
        for host in hosts { #expect(try host.access() == .all) }
        // With key 0, where all registrants hold it: all others.
        let all = hosts[0].acquire(
            NVME_RESERVATION_RACQA_PREEMPT_AND_ABORT, NVME_RESERVATION_RTYPE_EARO, key: 1, preempting: 0)
        #expect(all == .success)
        #expect(try hosts[0].access() == .all && hosts[0].report().keys == [1])
        for host in hosts.dropFirst() {
            #expect(try host.access() == .none)
            let page = try world.log(NVME_LOG_LID_RESERVATION, 64, on: host.host.admin)
            #expect(UInt32(page[8]) == NVME_RESV_NOTIFY_RNLPT_REGISTRATION_PREEMPTED.rawValue)
        }
    }

    /// Hosts on both sides of each word's end, every other one registered: each has its own access.
    @Test func eachOfManyHostsHasItsOwnAccess() throws {
        let world = try EngineWorld(groups: 2)
        try world.add(EngineWorld.namespace(2, SimulatedDisk.instant()))
        let hosts = try (1...260).map { try attach($0, world) }
        let registered = Set(hosts.indices.filter { $0 % 2 == 0 || $0 % 64 > 60 })
        for place in registered.sorted() { try hosts[place].join(5) }
        let last = try #require(registered.max())
        try hosts[last].hold(NVME_RESERVATION_RTYPE_WERO, key: 5)
        for (place, host) in hosts.enumerated() {
            #expect(try host.access() == (registered.contains(place) ? .all : .read), "host \(place + 1)")
        }
    }

    /// A place is a registrant's until every reactor knows that it is one no longer, whoever comes and goes meanwhile.
    @Test func nobodyInheritsTheRightsOfARegistrant() throws {
        let world = try world()
        let holder = try attach(1, world)
        try holder.join(1)
        try pass(2...130, world)
        try holder.hold(NVME_RESERVATION_RTYPE_EARO, key: 1)
        for number in 1000...1070 { #expect(try attach(number, world).access() == .none, "host \(number)") }
        for key in 2...130 {
            #expect(holder.acquire(preempt, NVME_RESERVATION_RTYPE_EARO, key: 1, preempting: UInt64(key)) == .success)
            let next = try attach(2000 + key, world)
            #expect(try next.access() == .none, "the host that comes after \(key)")
        }
        #expect(try attach(2, world).access() == .none)
        #expect(try holder.access() == .all)
    }
}
