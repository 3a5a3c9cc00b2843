import BlockInterface
import NVMeInitiator
import Testing
import VolumeDriver
import VolumeSimulation

/// Memory that a server announces to volumes of one group.
@Suite struct SharedRegistrationsTests {
    @Test func anAreaIsRegisteredOnceHoweverManyUseIt() throws {
        let world = FacadeWorld(seed: 5, dataBlocks: 12_288)
        let shared = SharedRegistrations()
        var options = world.options()
        options.registrations = shared
        let attachment = try #require(world.attach(options)).get()
        let device = try #require(world.wait { await attachment.blockDevice() })
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { memory.deallocate() }
        let channels = try (0..<3).map { _ in try device.openChannel(depth: 4) }
        for channel in channels { channel.announce(memory) }
        world.run(milliseconds: 5)
        // The three members are reached through one device.
        #expect(shared.count == 1)
        world.killMember(1)
        world.run(milliseconds: 50)
        world.startMember(1)
        world.run(milliseconds: 2000)
        #expect(shared.count == 1)
        for channel in channels {
            #expect(shared.count == 1)
            channel.close()
            world.run(milliseconds: 5)
        }
        #expect(shared.count == 0)
        try #require(world.detach(attachment)).get()
        world.close()
    }
}
