import CLibNVMe
import InProcessTransport
import TargetInterface
import Testing

/// As many hosts are registered with a namespace as there may be, and more are connected than a machine word has bits.
@Suite struct ManyRegistrantsTests {
    /// The README's limit.
    private static let most = 4096
    private let register = NVME_RESERVATION_RREGA_REGISTER_KEY
    private let preempt = NVME_RESERVATION_RACQA_PREEMPT

    private func world(_ store: KeptReservations? = nil) throws -> EngineWorld {
        try EngineWorld(.small { $0.controlMemory = 1 << 20 }, namespaces: 2, reservations: store)
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
        try pass(3...Self.most, world, flags: ReservingHost.persist)
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
        let strangers = try (1...64).map { try attach(Self.most + $0, world) }
        expectAll(try strangers[0].report(bytes: whole), holder: 1, present: [])
        for stranger in strangers {
            #expect(try stranger.access() == .none && stranger.host.execute(.flush(1)) == .success)
        }
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

    enum Meanwhile: CaseIterable { case anotherCommand, loss, reset }

    /// A reactor looks at thousands of registrants in many rounds. Between any two of them come I/O of those who are preempted,
    /// another host's command, and the end of the one who preempts: each meets all of it or nothing.
    @Test(arguments: Meanwhile.allCases) func aPreemptionIsWholeOrNotThereAtAll(_ meanwhile: Meanwhile) throws {
        let store = KeptReservations()
        let world = try world(store)
        try pass(1001...3000, world, flags: ReservingHost.persist)
        var holder = try attach(1, world)
        let other = try attach(2, world)
        try holder.join(1)
        try other.join(2)
        try holder.hold(NVME_RESERVATION_RTYPE_EARO, key: 1)
        // Their places among the registrants are far from each other: a report begins with the identifiers' lowest bytes.
        let victims = try [3, 70, 128, 200, 255].map { try attach($0, world) }
        func preemptVictims(_ host: ReservingHost, _ key: UInt64) -> UInt16 {
            let type = NVME_RESERVATION_RTYPE_EARO.rawValue
            return host.send(nvme_cmd_resv_acquire, preempt.rawValue, type, keys: key, 7)
        }
        var (rounds, isOver) = (0, false)
        while !isOver, rounds < 100 {
            for victim in victims { try victim.join(7) }
            let (saves, id) = (store.saveCount, preemptVictims(holder, 1))
            for _ in 0..<rounds { _ = world.poll() }
            isOver = holder.host.io[0].answer(to: id) != nil
            let writes = victims.map { ($0.host, $0.host.sendWrite(1, nsid: 2)) }
            switch meanwhile {
            case .anotherCommand:
                let second = preemptVictims(other, 2)
                #expect(other.host.status(of: second) == ReservingHost.conflict, "nobody has that key any more")
            case .loss: for queue in holder.host.queues { queue.disconnect() }
            case .reset: world.send(.configure(0), on: holder.host.admin)
            }
            let statuses = try writes.map { try #require($0.status(of: $1)) }
            #expect(statuses.allSatisfy { $0 == statuses[0] }, "after \(rounds) rounds: \(statuses)")
            #expect(!isOver || statuses[0] == ReservingHost.conflict)
            world.pass(milliseconds: 100)
            let (left, isGone) = (
                try other.report(bytes: 1 << 17).registrants.count { $0.key == 7 }, holder.host.io[0].isClosed
            )
            #expect(left == 0 || left == 5 && isGone && rounds < 2, "\(left) are left after \(rounds) rounds")
            #expect(store.saveCount == saves + (left == 0 ? 1 : 0), "it is stored once")
            #expect(isGone || holder.host.status(of: id) == .success)
            if isGone { holder = try attach(1, world) }
            rounds += 1
        }
        #expect(isOver && rounds > 7, "it took \(rounds) rounds")
    }

    /// Hosts on both sides of each word's end, every other one registered: each has its own access.
    @Test func eachOfManyHostsHasItsOwnAccess() throws {
        let world = try EngineWorld(groups: 2, namespaces: 2)
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
