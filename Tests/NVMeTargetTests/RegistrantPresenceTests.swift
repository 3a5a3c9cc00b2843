import CLibNVMe
import InProcessTransport
import Testing

/// A registrant's controller in a Reservation Report (NVMe Base 2.1, "Registered Controller data structure"): that of its host
/// while the host has one, and FFFFh when it has none.
@Suite struct RegistrantPresenceTests {
    private func controllerID(_ witness: ReservingHost) throws -> UInt16? {
        try witness.report().registrants.first { $0.key == 5 }?.controllerID
    }

    /// Asks until a report names that controller, for a while.
    private func expect(_ expected: UInt16, _ witness: ReservingHost, within milliseconds: UInt64 = 2000) throws {
        #expect(try witness.host.world.pass(atMost: milliseconds) { try controllerID(witness) == expected })
    }

    @Test func aReportTellsWhetherARegistrantIsThere() throws {
        let world = try EngineWorld()
        let witness = ReservingHost(try world.attach(host: 1))
        let first = try world.attach(host: 2)
        try ReservingHost(first).join(5)
        #expect(try controllerID(witness) == first.controllerID)

        // A second path of the same host: the registrant is there as long as one of them is.
        let second = try world.attach(host: 2)
        #expect([first.controllerID, second.controllerID].contains(try controllerID(witness) ?? 0))
        first.admin.disconnect()
        try expect(second.controllerID, witness)
        second.leave()
        try expect(0xFFFF, witness)
        // It comes back, with another controller.
        let third = try world.attach(host: 2)
        #expect(try controllerID(witness) == third.controllerID)
    }

    /// A host that stops without a word is gone when its keep-alive timeout is over.
    @Test func aSilentRegistrantIsGoneAfterItsKeepAliveTimeout() throws {
        let world = try EngineWorld()
        let witness = ReservingHost(try world.attach(host: 1))
        let silent = try world.attach(host: 2, keepAlive: 1000)
        try ReservingHost(silent).join(5)
        world.pass(milliseconds: 300)
        #expect(try controllerID(witness) == silent.controllerID)
        try expect(0xFFFF, witness, within: 3000)
    }

    // MARK: More hosts than the I/O path can tell apart

    /// The rights of registrants must not become those of all hosts that have no place of their own.
    @Test func aRegistrantWithoutAPlaceLetsNobodyElseIn() throws {
        let store = KeptReservations()
        func start() throws -> EngineWorld {
            let world = try EngineWorld(reservations: store)
            try world.add(TargetWorld.namespace(2, SteeredDevice()))
            return world
        }
        // A host of another run reserves the namespace for registrants alone, and through a loss of power.
        let registrant = ReservingHost(try start().attach(host: 0xEE), nsid: 2)
        let persist = NVME_RESERVATION_CPTPL_PERSIST
        #expect(try registrant.register(NVME_RESERVATION_RREGA_REGISTER_KEY, new: 1, persistence: persist) == .success)
        try registrant.hold(NVME_RESERVATION_RTYPE_EARO, key: 1)

        let world = try start()
        let hosts = try (1...64).map { try world.attach(host: .init($0)) }
        world.pass(milliseconds: 10)
        for host in [hosts[0], hosts[62], hosts[63]] {
            let found = try ReservingHost(host, nsid: 2).statuses()
            #expect(found.read == ReservingHost.conflict && found.write == ReservingHost.conflict, "\(host.name.nqn)")
            #expect(try host.execute(.flush()) == .success)
        }
    }
}
