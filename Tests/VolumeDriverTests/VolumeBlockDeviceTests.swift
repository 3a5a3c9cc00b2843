import Base
import BlockInterface
import BlockLaws
import NVMeInitiator
import Replication
import Testing
import VolumeDriver
import VolumeSimulation

/// A volume as a block device, in virtual time.
@Suite struct VolumeBlockDeviceTests {
    /// Lets the world go on while a channel is polled: nothing else in it has a clock.
    private final class PumpedChannel: BlockChannel {
        let inner: BlockChannel
        let world: FacadeWorld

        init(_ inner: BlockChannel, _ world: FacadeWorld) {
            self.inner = inner
            self.world = world
            super.init()
        }

        override func announce(_ memory: UnsafeMutableRawBufferPointer) { inner.announce(memory) }
        override func submit(_ requests: UnsafeBufferPointer<BlockRequest>) -> Int { inner.submit(requests) }
        override func poll(into completions: UnsafeMutableBufferPointer<BlockCompletion>) -> Int {
            world.step()
            return inner.poll(into: completions)
        }
        override var running: Int { inner.running }
        override func close() { inner.close() }
    }

    private final class PumpedDevice: BlockDevice, @unchecked Sendable {
        // Unchecked: one thread drives a simulation.
        let inner: VolumeBlockDevice
        let world: FacadeWorld

        init(_ inner: VolumeBlockDevice, _ world: FacadeWorld) {
            self.inner = inner
            self.world = world
        }

        var name: String { inner.name }
        var geometry: BlockGeometry { inner.geometry }
        var identity: BlockIdentity { inner.identity }
        func refresh() -> BlockDeviceChange { inner.refresh() }
        func openChannel(depth: Int) throws(TercetError) -> BlockChannel {
            PumpedChannel(try inner.openChannel(depth: depth), world)
        }
    }

    private let world = FacadeWorld(seed: 3, dataBlocks: 12_288)
    private let attachment: VolumeAttachment
    private let device: VolumeBlockDevice

    init() throws {
        let world = world
        let attachment = try #require(world.attach(world.options())).get()
        self.attachment = attachment
        device = try #require(world.wait { await attachment.blockDevice() })
    }

    private func end() throws {
        world.run(milliseconds: 20)
        try #require(world.detach(attachment)).get()
        world.close()
    }

    /// With memory that was announced, and with memory that is copied.
    @Test(arguments: [true, false])
    func itKeepsTheLaws(announces: Bool) throws {
        let violations = checkBlockDeviceLaws(PumpedDevice(device, world), announces: announces, seed: 7)
        #expect(violations == [])
        #expect((device.copiedCount == 0) == announces)
        try end()
    }

    @Test func itIsTheVolume() throws {
        #expect(device.identity.uuid == UUIDBytes(high: 0x5445_5243, low: 0x4554).bytes)
        #expect(device.geometry.byteCount == 12_288 * 512)
        #expect(device.geometry.blockSize == 512)
        #expect(device.availability == .serving)
        try end()
    }

    /// A flush is durable on every member in sync, not on one.
    @Test func aFlushIsDurableEverywhere() throws {
        let driver = ChannelDriver(PumpedChannel(try device.openChannel(depth: 4), world), byteCount: 4096)
        driver.fill(0..<4096, seed: 1)
        #expect(driver.run(.write, offset: 8192, length: 4096) == .success)
        #expect(driver.run(.flush) == .success)
        driver.fill(0..<512, seed: 2)
        #expect(driver.run(.write, .forceUnitAccess, offset: 0, length: 512) == .success)
        for member in 0..<3 {
            let bytes = world.contents(of: member, isDurable: true)
            #expect(bytes[8192..<12_288].contains { $0 != 0 })
            #expect(Array(bytes[..<512]) == Array(driver.memory[..<512]))
        }
    }

    /// Another host takes the volume over: for good, not for now.
    @Test func aFencedVolumeSaysSo() throws {
        let driver = ChannelDriver(PumpedChannel(try device.openChannel(depth: 4), world), byteCount: 4096)
        var options = world.options(host: 2)
        options.takesOver = true
        let second = try #require(world.attach(options)).get()
        #expect(driver.run(.write, offset: 0, length: 512) == .fenced)
        #expect(device.availability == .fenced)
        try #require(world.detach(second)).get()
    }

    /// While too few members are there, I/O ends in a status that invites to try again, where the volume is set to fail.
    @Test func aSuspendedVolumeIsUnavailableAndComesBack() throws {
        try #require(world.detach(attachment)).get()
        var options = world.options(host: 2)
        options.suspendPolicy = .fail
        let world = world
        let second = try #require(world.attach(options)).get()
        let device = try #require(world.wait { await second.blockDevice() })
        let driver = ChannelDriver(PumpedChannel(try device.openChannel(depth: 4), world), byteCount: 4096)
        world.killMember(0)
        world.killMember(1)
        #expect(world.run(milliseconds: 10_000) { device.availability == .unavailable })
        #expect(driver.run(.write, offset: 0, length: 512) == .unavailable)
        world.startMember(0)
        world.startMember(1)
        #expect(world.run(milliseconds: 20_000) { device.availability == .serving })
        #expect(driver.run(.write, offset: 0, length: 512) == .success)
    }
}
