import CLibNVMe
import Testing

/// A registrant's controller in a Reservation Report (NVMe Base 2.1, "Registered Controller data structure"): that of its host
/// while the host has one, and FFFFh when it has none.
@Suite struct RegistrantPresenceTests {
    private func controllerID(_ witness: ReservingHost) throws -> UInt16? {
        try witness.report().registrants.first { $0.key == 5 }?.controllerID
    }

    /// Asks until a report names that controller, for a virtual time.
    private func expect(_ expected: UInt16, _ witness: ReservingHost, withinMilliseconds limit: UInt64 = 2000) throws {
        var found = try controllerID(witness)
        for _ in 0..<limit / 50 where found != expected {
            witness.world.pass(milliseconds: 50)
            found = try controllerID(witness)
        }
        #expect(found == expected)
    }

    @Test func aReportTellsWhetherARegistrantIsThere() throws {
        let world = try TargetWorld()
        let witness = ReservingHost(world: world, attached: try world.attach())
        let first = try world.attach()
        try ReservingHost(world: world, attached: first).join(5)
        #expect(try controllerID(witness) == first.controllerID)

        // A second path of the same host: the registrant is there as long as one of them is.
        let second = try world.attach(first.host)
        #expect([first.controllerID, second.controllerID].contains(try controllerID(witness) ?? 0))
        first.host.destroy(first.admin)
        try expect(second.controllerID, witness)
        second.host.destroyAll()
        try expect(0xFFFF, witness)
        // It comes back, with another controller.
        let third = try world.attach(first.host)
        #expect(try controllerID(witness) == third.controllerID)
    }

    /// A host that stops without a word is gone when its keep-alive timeout is over.
    @Test func aSilentRegistrantIsGoneAfterItsKeepAliveTimeout() throws {
        let world = try TargetWorld()
        let witness = ReservingHost(world: world, attached: try world.attach())
        let silent = try world.attach(keepAlive: 1000)
        try ReservingHost(world: world, attached: silent).join(5)
        world.pass(milliseconds: 300)
        #expect(try controllerID(witness) == silent.controllerID)
        try expect(0xFFFF, witness, withinMilliseconds: 3000)
    }
}
