import CChecksum
import CLibNVMe
import Simulation
import TargetInterface
import Testing

@testable import NVMeTargetTests

/// Registrants that a stored record claims, or a host that is none.
@Suite("Holes: reservations")
struct ReservationHoles {
    /// A record that was stored, whatever a target makes of it.
    private struct Record: ReservationStore {
        let bytes: [UInt8]
        func load(subsystem: String, nsid: UInt32) throws -> [UInt8]? { nsid == 2 ? bytes : nil }
        func save(
            _ bytes: (@Sendable () -> [UInt8])?, subsystem: String, nsid: UInt32,
            completion: @escaping @Sendable (String?) -> Void
        ) { completion(nil) }
    }

    /// A record of seventeen registrants, which a target has stored and goes on with.
    private func record() throws -> [UInt8] {
        let store = KeptReservations()
        func hosts() throws -> [ReservingHost] {
            let world = try EngineWorld(namespaces: 2, reservations: store)
            return try (1...17).map { ReservingHost(try world.attach(host: .init($0)), nsid: 2) }
        }
        for (place, host) in try hosts().enumerated() {
            let status = host.register(
                NVME_RESERVATION_RREGA_REGISTER_KEY, new: UInt64(place + 1), flags: ReservingHost.persist)
            #expect(status == .success)
        }
        #expect(try hosts()[0].report().keys == Set(1...17))
        return try #require(try store.load(subsystem: EngineWorld.nqn, nsid: 2))
    }

    @Test("A stored reservation that counts more registrants than it has is refused, and all else is served")
    func storedCounts() throws {
        let good = try record()
        // The last but one times the 24 bytes of a registrant is 8 in 32 bits.
        for (count, added) in [(18, 0), (0xFFFF, 0), (0x0AAA_AAAB, 0), (0xFFFF_FFFF, 0), (4097, 4080)]
            as [(UInt32, UInt32)]
        {
            // More than a namespace may have, with a record that has them all.
            var bytes = Array(good.dropLast(4)) + (0..<added).flatMap { little($0 + 1000, 24) }
            bytes.replaceSubrange(8..<12, with: little(count, 4))
            bytes += little(tercet_crc32c(bytes, bytes.count), 4)
            let world = try EngineWorld(reservations: Record(bytes: bytes))
            let error = #expect(throws: WorldError.self) {
                try world.add(EngineWorld.namespace(2, SimulatedDisk.instant()))
            }
            #expect(error?.description.contains("stored reservation cannot be read") == true, "\(count)")
            try world.attach().expectServed("\(count)")
        }
    }

    @Test("A host that is no registrant replaces no key, and becomes none, whether its key is looked at or not")
    func replacing() throws {
        let world = try EngineWorld()
        let (owner, stranger) = (ReservingHost(try world.attach(host: 1)), ReservingHost(try world.attach(host: 2)))
        try owner.join(1)
        try owner.hold(NVME_RESERVATION_RTYPE_EARO, key: 1)
        for flags in [0, ReservingHost.ignoringKey] {
            let status = stranger.register(NVME_RESERVATION_RREGA_REPLACE_KEY, current: 1, new: 2, flags: flags)
            #expect(status == ReservingHost.conflict)
            #expect(try owner.report().has(keys: [1], holders: [1], NVME_RESERVATION_RTYPE_EARO))
            #expect(try stranger.access() == .none)
        }
    }
}
