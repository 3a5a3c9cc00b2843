import CLibNVMe
import InProcessTransport
import Simulation
import TargetInterface
import Testing

/// Reservations: what each type lets whom do, and what each command does to whom (NVMe Base 2.0, "Reservations").
@Suite struct ReservationTests {
    private let acquire = NVME_RESERVATION_RACQA_ACQUIRE
    private let preempt = NVME_RESERVATION_RACQA_PREEMPT
    private let release = NVME_RESERVATION_RRELA_RELEASE
    private let clear = NVME_RESERVATION_RRELA_CLEAR
    private let register = NVME_RESERVATION_RREGA_REGISTER_KEY
    private let replace = NVME_RESERVATION_RREGA_REPLACE_KEY
    private let unregister = NVME_RESERVATION_RREGA_UNREGISTER_KEY

    private func hosts(_ count: UInt8, _ world: EngineWorld? = nil, queues: UInt16 = 1) throws -> [ReservingHost] {
        let world = try world ?? EngineWorld()
        return try (1...count).map { ReservingHost(try world.attach(ioQueues: queues, host: .init($0))) }
    }

    /// Hosts that have registered the keys 1, 2, and so on.
    private func joined(_ count: UInt8, _ world: EngineWorld? = nil, queues: UInt16 = 1) throws -> [ReservingHost] {
        let hosts = try hosts(count, world, queues: queues)
        for (index, host) in hosts.enumerated() { try host.join(UInt64(index + 1)) }
        return hosts
    }

    /// A type, what it lets whom do, and whether it ends with its holder's registration.
    struct TypeRow: Sendable, CustomTestStringConvertible {
        let type: nvme_resv_rtype
        let registrant, stranger: ReservingHost.Access
        var hasOneHolder = true
        var testDescription: String { "type \(type.rawValue)" }
    }

    /// NVMe Base 2.0, "Command Behavior in the Presence of a Reservation": the holder may do everything.
    static let types = [
        TypeRow(type: NVME_RESERVATION_RTYPE_WE, registrant: .read, stranger: .read),
        TypeRow(type: NVME_RESERVATION_RTYPE_EA, registrant: .none, stranger: .none),
        TypeRow(type: NVME_RESERVATION_RTYPE_WERO, registrant: .all, stranger: .read),
        TypeRow(type: NVME_RESERVATION_RTYPE_EARO, registrant: .all, stranger: .none),
        TypeRow(type: NVME_RESERVATION_RTYPE_WEAR, registrant: .all, stranger: .read, hasOneHolder: false),
        TypeRow(type: NVME_RESERVATION_RTYPE_EAAR, registrant: .all, stranger: .none, hasOneHolder: false),
    ]

    @Test(arguments: types, [1, 3]) func eachTypeLetsDoWhatItsTableSays(row: TypeRow, groups: Int) throws {
        let hosts = try hosts(3, EngineWorld(groups: groups), queues: UInt16(groups))
        let (holder, registrant, stranger) = (hosts[0], hosts[1], hosts[2])
        try holder.join(1)
        try registrant.join(2)
        for host in hosts { #expect(try host.access() == .all, "registrations alone forbid nothing") }
        let type = row.type
        try holder.hold(type, key: 1)
        #expect(try holder.access() == .all)
        #expect(try registrant.access() == row.registrant)
        #expect(try stranger.access() == row.stranger)
        let report = try stranger.report()
        #expect(report.type == type.rawValue)
        #expect(report.holders == (row.hasOneHolder ? [1] : [1, 2]))
        // The holder may acquire it again as it is; nobody else may, and nobody with another type.
        #expect(holder.acquire(acquire, type, key: 1) == .success)
        let other = row.hasOneHolder ? ReservingHost.conflict : .success
        #expect(registrant.acquire(acquire, type, key: 2) == other)
        let otherType = nvme_resv_rtype(type.rawValue % 6 + 1)
        #expect(holder.acquire(acquire, otherType, key: 1) == ReservingHost.conflict)
        #expect(stranger.acquire(acquire, type, key: 3) == ReservingHost.conflict)
        // It ends with its holder's registration, or with the last one where all registrants hold it.
        #expect(holder.register(unregister, current: 1) == .success)
        #expect(try stranger.report().type == (row.hasOneHolder ? 0 : type.rawValue))
        #expect(try holder.access() == (row.hasOneHolder ? .all : row.stranger))
        #expect(registrant.register(unregister, current: 2) == .success)
        for host in hosts { #expect(try host.access() == .all) }
        #expect(try stranger.report().registrants.isEmpty)
    }

    @Test func aKeyIsRegisteredReplacedAndUnregistered() throws {
        let hosts = try hosts(2)
        let (conflict, ignoring, start) = (ReservingHost.conflict, ReservingHost.ignoringKey, try hosts[0].report())
        #expect(start.registrants.isEmpty && start.type == 0 && !start.persists)
        // A host, its command with the current key and a new one; then its status, both hosts' keys, and the changes so far.
        for (host, action, current, new, flags, status, keys, changes) in [
            (0, register, 0, 5, ReservingHost.persist, ReservingHost.invalid, [nil, nil], 0),  // There is no store.
            (0, replace, 0, 5, 0, conflict, [nil, nil], 0),
            (0, unregister, 0, 0, 0, conflict, [nil, nil], 0),
            (0, register, 0, 5, 0, .success, [5, nil], 1),
            (0, register, 0, 5, 0, .success, [5, nil], 1),  // The same again changes nothing.
            (0, register, 0, 6, 0, conflict, [5, nil], 1),
            (1, register, 0, 5, 0, .success, [5, 5], 2),  // Two hosts may have the same key.
            (0, replace, 4, 6, 0, conflict, [5, 5], 2),
            (0, replace, 5, 6, 0, .success, [6, 5], 3),
            (0, replace, 4, 7, ignoring, .success, [7, 5], 4),
            (0, unregister, 6, 0, 0, conflict, [7, 5], 4),
            (0, unregister, 7, 0, 0, .success, [nil, 5], 5),
            (1, unregister, 1, 0, ignoring, .success, [nil, nil], 6),
        ] as [(Int, nvme_resv_rrega, UInt64, UInt64, UInt32, RawStatus, [UInt64?], UInt32)] {
            #expect(hosts[host].register(action, current: current, new: new, flags: flags) == status)
            let report = try hosts[1].report()
            let expected = zip(hosts, keys).filter { $0.1 != nil }
            #expect(report.registrants.map(\.key) == expected.map(\.1) && report.type == 0)
            #expect(report.registrants.map(\.controllerID) == expected.map(\.0.host.controllerID))
            #expect(report.registrants.map(\.hostID) == expected.map(\.0.host.name.id))
            #expect(report.generation == start.generation + changes)
        }
    }

    /// "Ignore Existing Key" is for Reservation Register alone; a wrong key of one's own is a conflict.
    @Test func ownKeysAreChecked() throws {
        let host = try hosts(1)[0]
        let type = NVME_RESERVATION_RTYPE_WE
        try host.join(5)
        #expect(host.acquire(acquire, type, key: 6) == ReservingHost.conflict)
        #expect(host.acquire(acquire, type, key: 5, flags: ReservingHost.ignoringKey) == ReservingHost.invalid)
        try host.hold(type, key: 5)
        #expect(host.release(release, type, key: 6) == ReservingHost.conflict)
        #expect(host.release(release, type, key: 5, flags: ReservingHost.ignoringKey) == ReservingHost.invalid)
        #expect(host.release(release, NVME_RESERVATION_RTYPE_EA, key: 5) == ReservingHost.invalid)
        #expect(try host.report().holders == [5])
        #expect(host.release(release, type, key: 5) == .success)
        #expect(try host.report().type == 0 && host.report().keys == [5])
    }

    @Test func onlyTheHolderReleasesAndAnyRegistrantClears() throws {
        let world = try EngineWorld()
        let hosts = try joined(2, world) + [ReservingHost(world.attach(host: 3))]
        let type = NVME_RESERVATION_RTYPE_EA
        try hosts[0].hold(type, key: 1)
        #expect(hosts[1].release(release, type, key: 2) == .success)
        #expect(try hosts[1].report().holders == [1], "without effect: it is not the holder's")
        #expect(hosts[2].release(clear, type, key: 3) == ReservingHost.conflict)
        #expect(try hosts[1].access() == .none)
        let before = try hosts[1].report()
        #expect(hosts[1].release(clear, type, key: 2) == .success)
        let after = try hosts[1].report()
        #expect(after.registrants.isEmpty && after.type == 0 && after.generation == before.generation + 1)
        for host in hosts { #expect(try host.access() == .all) }
    }

    @Test func preemptTakesTheReservationAndTheRegistration() throws {
        let hosts = try joined(3)
        try hosts[0].hold(NVME_RESERVATION_RTYPE_WERO, key: 1)
        // A registrant that holds nothing loses its registration, and the reservation stays.
        let type = NVME_RESERVATION_RTYPE_EARO
        #expect(hosts[1].acquire(preempt, type, key: 2, preempting: 3) == .success)
        #expect(try hosts[0].report().has(keys: [1, 2], holders: [1], NVME_RESERVATION_RTYPE_WERO))
        #expect(try hosts[2].access() == .read)
        #expect(hosts[2].acquire(preempt, type, key: 3, preempting: 1) == ReservingHost.conflict)
        #expect(hosts[1].acquire(preempt, type, key: 2, preempting: 9) == ReservingHost.conflict, "nobody's key")
        #expect(hosts[1].acquire(preempt, type, key: 2, preempting: 0) == ReservingHost.invalid)
        // The holder loses both, and the new reservation is of the new type.
        #expect(hosts[1].acquire(preempt, type, key: 2, preempting: 1) == .success)
        #expect(try hosts[0].report().has(keys: [2], holders: [2], type))
        #expect(try hosts[0].access() == .none && hosts[1].access() == .all)
        // The holder changes the type by preempting itself, and keeps its registration.
        #expect(hosts[1].acquire(preempt, NVME_RESERVATION_RTYPE_WE, key: 2, preempting: 2) == .success)
        #expect(try hosts[0].report().has(keys: [2], holders: [2], NVME_RESERVATION_RTYPE_WE))
    }

    /// With "All Registrants" a key of 0 means all others, and any other key only those who have it.
    @Test func preemptAmongAllRegistrants() throws {
        let hosts = try joined(3)
        try hosts[0].hold(NVME_RESERVATION_RTYPE_EAAR, key: 1)
        #expect(hosts[1].acquire(preempt, NVME_RESERVATION_RTYPE_WE, key: 2, preempting: 1) == .success)
        // Only registrations were taken.
        #expect(try hosts[1].report().has(keys: [2, 3], holders: [2, 3], NVME_RESERVATION_RTYPE_EAAR))
        #expect(hosts[1].acquire(preempt, NVME_RESERVATION_RTYPE_WE, key: 2, preempting: 0) == .success)
        #expect(try hosts[1].report().has(keys: [2], holders: [2], NVME_RESERVATION_RTYPE_WE))
        #expect(try hosts[2].access() == .read)
    }

    @Test(arguments: [1, 3]) func preemptAndAbortWaitsForTheVictimsCommands(groups: Int) throws {
        let (world, device) = try EngineWorld.steered(groups: groups)
        let hosts = try joined(3, world, queues: UInt16(groups))
        let (victim, winner, witness) = (hosts[0], hosts[1], hosts[2])
        let type = NVME_RESERVATION_RTYPE_WERO
        try victim.hold(type, key: 1)
        device.behaviour.isStuck = true
        let writes = victim.host.io.indices.map { ($0, victim.host.sendWrite(0xAA, at: 64, blocks: 8, queue: $0)) }
        world.pass(milliseconds: 20)
        // To take a registration without "abort" waits for nothing.
        #expect(winner.acquire(preempt, type, key: 2, preempting: 3) == .success)
        let abort = NVME_RESERVATION_RACQA_PREEMPT_AND_ABORT.rawValue
        let id = winner.send(nvme_cmd_resv_acquire, abort, type.rawValue, keys: 2, 1)
        world.pass(milliseconds: 1000)
        #expect(winner.host.status(of: id) == nil, "the victim's writes may still land")
        device.behaviour.isStuck = false
        #expect(winner.host.status(of: id) == .success)
        #expect(try winner.report().holders == [2])
        // The fence stands: what the winner writes now stays.
        #expect(try winner.host.write(0xBB, at: 64, blocks: 8) == .success)
        for (queue, id) in writes { #expect(victim.host.status(of: id, queue: queue) != nil) }
        #expect(try victim.host.write(0xAA, at: 64, blocks: 8) == ReservingHost.conflict)
        world.pass(milliseconds: 1000)
        #expect(try winner.host.read(64, blocks: 8).allSatisfy { $0 == 0xBB })
        #expect(witness.host.isThere)
    }

    /// A reservation that persists is there when the target starts again; another one is gone.
    @Test func aReservationPersistsThroughPowerLoss() throws {
        let store = KeptReservations()
        func start() throws -> [ReservingHost] {
            try hosts(2, EngineWorld(namespaces: 2, reservations: store)).map { ReservingHost($0.host, nsid: 2) }
        }
        let type = NVME_RESERVATION_RTYPE_EA
        var now = try start()
        #expect(now[0].register(register, new: 1, flags: ReservingHost.persist) == .success)
        try now[0].hold(type, key: 1)
        let before = try now[0].report()
        #expect(before.persists && before.holders == [1])

        now = try start()
        // The host has connected again, under whatever controller identifier it was given.
        var after = try now[0].report()
        #expect(after.generation == before.generation && after.type == before.type && after.persists)
        #expect(after.holders == [1] && after.registrants.map(\.hostID) == [now[0].host.name.id])
        #expect(try now[1].access() == .none && now[0].access() == .all)
        #expect(now[0].register(replace, current: 1, new: 4, flags: ReservingHost.doNotPersist) == .success)
        after = try now[0].report()
        #expect(!after.persists && after.holders == [4], "it stands until the power is lost")

        now = try start()
        after = try now[0].report()
        #expect(after.registrants.isEmpty && after.type == 0)
        for host in now { #expect(try host.access() == .all) }
    }

    /// A command is being stored when its namespace is taken out and put back: nothing of it counts, and the registrants stay what they are.
    /// Their places went to others once: a stranger had a registrant's rights, and the next start could not read what was stored.
    @Test(arguments: [nvme_cmd_resv_register, nvme_cmd_resv_acquire, nvme_cmd_resv_release])
    func aChangeEndsWithItsNamespace(opcode: nvme_io_opcode) throws {
        let store = KeptReservations(hangs: true)
        let world = try EngineWorld(namespaces: 2, reservations: store)
        func stored(_ host: ReservingHost, _ id: UInt16) -> RawStatus? {
            world.settle { store.waitingCount > 0 }
            store.answer()
            return host.host.status(of: id)
        }
        let first = try (1...2).map { ReservingHost(try world.attach(host: .init($0)), nsid: 2) }
        for (place, host) in first.enumerated() {
            let id = host.send(
                nvme_cmd_resv_register, register.rawValue, keys: 0, UInt64(place + 1), flags: ReservingHost.persist)
            #expect(stored(host, id) == .success)
        }
        let type = NVME_RESERVATION_RTYPE_EARO
        #expect(stored(first[0], first[0].send(nvme_cmd_resv_acquire, 0, type.rawValue, keys: 1, 0)) == .success)

        // The second unregisters, preempts the first, or takes all registrations away.
        switch opcode {
        case nvme_cmd_resv_register: _ = first[1].send(opcode, unregister.rawValue, keys: 2, 0)
        case nvme_cmd_resv_acquire: _ = first[1].send(opcode, 1, type.rawValue, keys: 2, 1)
        default: _ = first[1].send(opcode, 1, type.rawValue, keys: 2)
        }
        world.settle { store.waitingCount > 0 }
        #expect(store.waitingCount == 1)
        let definition = EngineWorld.namespace(2, SimulatedDisk.instant())
        try world.change { $0[EngineWorld.nqn]?.namespaces.removeAll { $0.nsid == 2 } }
        try world.add(definition)
        store.answer()
        world.settle()
        for host in first { host.host.leave() }
        world.pass(milliseconds: 500)

        // Those who come now are strangers, whatever places they get.
        let strangers = try (3...6).map { ReservingHost(try world.attach(host: .init($0)), nsid: 2) }
        for stranger in strangers { #expect(try stranger.access() == .none) }
        let back = ReservingHost(try world.attach(host: .init(1)), nsid: 2)
        #expect(try back.access() == .all)
        #expect(try back.report().has(keys: [1, 2], holders: [1], type))
        // The next start can read what is stored, and has the namespace.
        #expect(throws: Never.self) { try EngineWorld(namespaces: 2, reservations: store) }
    }

    /// A target that shares its namespace with others may have lost it to one of them: a host asks there then.
    @Test(arguments: [false, true])
    func aReservationThatCannotBeKeptIsNone(isShared: Bool) throws {
        let store = KeptReservations(keepsAll: isShared, problem: "it is another's")
        let world = try EngineWorld(namespaces: 2, reservations: store)
        let host = ReservingHost(try world.attach(host: .init(1)), nsid: 2)
        #expect(
            host.register(register, new: 1, flags: ReservingHost.persist)
                == (isShared ? ReservingHost.inaccessible : ReservingHost.internalError))
        #expect(try host.report().registrants.isEmpty)
        store.overcomeProblem()
        #expect(host.register(register, new: 2, flags: ReservingHost.persist) == .success)
        #expect(try host.report().has(keys: [2], holders: [], nvme_resv_rtype(0)))
    }

    /// Those who lose something are told with the log page of the kind (NVMe Base, "Reservation Notification").
    @Test func losersAreNotified() throws {
        let hosts = try joined(2)
        try hosts[0].hold(NVME_RESERVATION_RTYPE_WERO, key: 1)
        #expect(hosts[1].acquire(preempt, NVME_RESERVATION_RTYPE_WERO, key: 2, preempting: 1) == .success)
        let page = try notification(hosts[0])
        #expect(page.lpc == 1 && page.nsid == 1)
        #expect(UInt32(page.rnlpt) == NVME_RESV_NOTIFY_RNLPT_REGISTRATION_PREEMPTED.rawValue)
        #expect(try notification(hosts[0]).rnlpt == 0, "read once")
        #expect(try notification(hosts[1]).rnlpt == 0, "its own doing")
        try hosts[0].join(3)
        #expect(hosts[1].release(release, NVME_RESERVATION_RTYPE_WERO, key: 2) == .success)
        #expect(UInt32(try notification(hosts[0]).rnlpt) == NVME_RESV_NOTIFY_RNLPT_RESERVATION_RELEASED.rawValue)
        #expect(hosts[1].release(clear, NVME_RESERVATION_RTYPE_WERO, key: 2) == .success)
        #expect(UInt32(try notification(hosts[0]).rnlpt) == NVME_RESV_NOTIFY_RNLPT_RESERVATION_PREEMPTED.rawValue)
    }

    private func notification(_ host: ReservingHost) throws -> nvme_resv_notification_log {
        try host.host.world.log(NVME_LOG_LID_RESERVATION, 64, on: host.host.admin).withUnsafeBytes {
            $0.loadUnaligned(as: nvme_resv_notification_log.self)
        }
    }

    /// A registrant's controller in a Reservation Report (NVMe Base 2.1, "Registered Controller data structure"): that of its host
    /// while the host has one, and FFFFh when it has none. The registrant's key is 5.
    private func controllerID(_ witness: ReservingHost) throws -> UInt16? {
        try witness.report().registrants.first { $0.key == 5 }?.controllerID
    }

    private func expect(_ expected: UInt16, _ witness: ReservingHost, within milliseconds: UInt64 = 2000) throws {
        #expect(witness.host.world.run(milliseconds: milliseconds) { (try? controllerID(witness)) == expected })
    }

    @Test func aReportTellsWhetherARegistrantIsThere() throws {
        let world = try EngineWorld()
        let (witness, first) = (try hosts(1, world)[0], try world.attach(host: 2))
        try ReservingHost(first).join(5)
        #expect(try controllerID(witness) == first.controllerID)
        // A second path of the same host: the registrant is there as long as one of them is.
        let second = try world.attach(host: 2)
        #expect([first.controllerID, second.controllerID].contains(try controllerID(witness) ?? 0))
        first.admin.disconnect()
        try expect(second.controllerID, witness)
        second.leave()
        try expect(0xFFFF, witness)
        // It comes back with another controller, and falls silent then.
        let third = try world.attach(host: 2, keepAlive: 1000)
        world.pass(milliseconds: 300)
        #expect(try controllerID(witness) == third.controllerID)
        try expect(0xFFFF, witness, within: 3000)
    }
}
