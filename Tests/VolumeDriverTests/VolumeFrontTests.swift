import Base
import BlockInterface
import Testing
import VolumeDriver
import VolumeSimulation

/// A volume's front, which leads to the volume while it is attached here, in virtual time.
@Suite struct VolumeFrontTests {
    private let world = FacadeWorld(seed: 5, dataBlocks: 12_288)
    private let attachment: VolumeAttachment
    private let device: VolumeBlockDevice
    private let front: VolumeFront
    private let channel: BlockChannel
    private let memory = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)

    init() throws {
        let world = world
        let attachment = try #require(world.attach(world.options())).get()
        self.attachment = attachment
        device = try #require(world.wait { await attachment.blockDevice() })
        front = VolumeFront(attachment.superblock)
        channel = try front.openChannel(depth: 8)
    }

    private func perform(_ operation: BlockOperation, by other: BlockChannel? = nil) -> BlockStatus? {
        let channel = other ?? channel
        let request = BlockRequest(tag: 1, operation: operation, length: 4096, buffer: memory)
        withUnsafePointer(to: request) { pointer in
            #expect(channel.submit(UnsafeBufferPointer(start: pointer, count: 1)) == 1)
        }
        var completion = BlockCompletion(tag: 0, status: .unsupported)
        for _ in 0..<100_000 {
            world.step()
            let found = withUnsafeMutablePointer(to: &completion) {
                channel.poll(into: UnsafeMutableBufferPointer(start: $0, count: 1))
            }
            if found == 1 { return completion.status }
        }
        return nil
    }

    private func end() throws {
        front.leadNowhere()
        #expect(front.follow())
        channel.close()
        world.run(milliseconds: 20)
        try #require(world.detach(attachment)).get()
        world.close()
        memory.deallocate()
    }

    @Test("It does I/O while it leads to the volume, and says otherwise that another path may")
    func leading() throws {
        #expect(front.geometry.byteCount == device.geometry.byteCount && front.identity == device.identity)
        #expect(perform(.write) == .unavailable)
        front.lead(to: device, during: ServingTerm(end: .distantFuture))
        #expect(perform(.write) == .unavailable, "the channel has not followed")
        #expect(front.follow())
        #expect(perform(.write) == .success)
        #expect(perform(.read) == .success)
        front.leadNowhere()
        #expect(front.follow())
        #expect(perform(.read) == .unavailable)
        try end()
    }

    /// The members let a former owner read, and what it reads may be old.
    @Test("Nothing that was read counts after the end of the term; a renewed one goes on, and another one begins anew")
    func terms() throws {
        let term = ServingTerm(end: .distantFuture)
        front.lead(to: device, during: term)
        #expect(front.follow())
        #expect(perform(.read) == .success)
        term.extend(to: .now())
        #expect(perform(.read) == .unavailable)
        #expect(perform(.write) == .unavailable)
        front.lead(to: device, during: ServingTerm(end: .distantFuture))
        #expect(perform(.read) == .unavailable, "the channel is the former term's")
        #expect(front.follow())
        #expect(perform(.read) == .success)
        try end()
    }

    /// NBD clients cannot follow a volume to its next owner.
    @Test("Nothing that was read by a client which cannot follow the volume counts after the end of the term")
    func fixedClients() throws {
        let term = ServingTerm(end: .distantFuture)
        let offered = TermedDevice(device, during: term)
        #expect(offered.geometry.byteCount == device.geometry.byteCount && offered.identity == device.identity)
        let fixed = try offered.openChannel(depth: 8)
        #expect(perform(.write, by: fixed) == .success)
        #expect(perform(.read, by: fixed) == .success)
        term.extend(to: .now())
        #expect(perform(.read, by: fixed) == .unavailable)
        #expect(perform(.write, by: fixed) == .unavailable)
        fixed.close()
        try end()
    }
}
