import Base
import NVMeSpec
import Testing
import VolumeDriver

/// A volume is left alone while another host has it, and the message claims no more than its members' targets tell.
@Suite struct OccupantTests {
    private let members = (0..<3).compactMap { MemberAddress("192.0.2.\($0 + 1):4420/nqn.2026-11.io.tercet:m/1") }

    private func occupant(_ isCertain: Bool) throws -> VolumeOccupant {
        let host = PresentHost(
            registrant: ReservationStatus.Registrant(
                controllerID: 7, holdsReservation: true, hostID: UUIDBytes(high: 1, low: 2), key: 0xAB),
            isCertain: isCertain)
        return try #require(VolumeOccupant(members, [[], [host], []]))
    }

    @Test func aHostThatIsThereIsSaidToBeThere() throws {
        let text = try occupant(true).objection(consent: "say --take-over")
        #expect(text.contains("has the volume attached: stop it there") && text.contains("--take-over"))
        #expect(!text.contains("died") && text.contains("192.0.2.2") && text.contains("ab"))
    }

    @Test func aHostThatMayHaveDiedIsSaidToBeSo() throws {
        let text = try occupant(false).objection(consent: "say --take-over")
        #expect(text.contains("or it died") && text.contains("--take-over"))
    }

    @Test func nobodyIsNoObjection() {
        #expect(VolumeOccupant(members, [[], [], []]) == nil)
    }
}
