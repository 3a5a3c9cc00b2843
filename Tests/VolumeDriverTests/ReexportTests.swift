import Base
import BlockInterface
import NVMeInitiator
import NVMeSpec
import Testing
import VolumeDriver
import VolumeSimulation

/// A volume that a process serves to a host, by the target that serves any block device.
@Suite struct ReexportTests {
    private let world = FacadeWorld(seed: 4, dataBlocks: 8192)
    private let attachment: VolumeAttachment
    private let device: VolumeBlockDevice
    private let host: FacadeHost

    init() throws {
        let world = world
        let attachment = try #require(world.attach(world.options())).get()
        self.attachment = attachment
        let device = try #require(world.wait { await attachment.blockDevice() })
        self.device = device
        world.serve(device)
        let host = FacadeHost(world)
        self.host = host
        let failure = world.wait(host.group) { () async -> InitiatorError? in
            do throws(InitiatorError) { try await host.connect() } catch { return error }
            return nil
        }
        #expect(failure.map { $0 == nil } ?? false)
    }

    private func perform(
        _ kind: IOKind, start: UInt64 = 0, count: UInt64 = 0, at position: Int = 0, second: Int? = nil,
        flags: IOFlags = []
    ) -> Status? {
        let host = host
        let completion = world.wait(host.group) {
            await host.perform(kind, start: start, count: count, at: position, second: second, flags: flags)
        }
        guard let completion, completion.outcome == .surelyDone else { return nil }
        return completion.status
    }

    private func fill(_ range: Range<Int>, _ byte: UInt8) {
        for place in range { host.memory[place] = byte }
    }

    @Test func theHostSeesTheVolume() throws {
        let namespace = try #require(host.controller.namespaces.first)
        #expect(namespace.blockCount == 8192)
        #expect(namespace.blockSize == 512)
        #expect(namespace.descriptors?.uuid?.bytes == device.identity.uuid)
    }

    /// A member dies under writes, and comes back: the host notices nothing, and all members are equal in the end.
    @Test func aMemberDiesUnderAHost() throws {
        for round in 0..<60 {
            if round == 20 { world.killMember(1) }
            if round == 40 { world.startMember(1) }
            fill(0..<65_536, UInt8(round + 1))
            #expect(
                perform(.write, start: UInt64(round * 64), count: 128, flags: round % 4 == 0 ? .forceUnitAccess : [])
                    == .success)
            fill(65_536..<131_072, 0)
            #expect(perform(.read, start: UInt64(round * 64), count: 128, at: 65_536) == .success)
            #expect(host.memory[65_536..<131_072].allSatisfy { $0 == UInt8(round + 1) })
        }
        #expect(perform(.flush) == .success)
        // Its data came by RDMA READ into the target's memory, and left three times from there.
        #expect(device.copiedCount == 0)
        let attachment = attachment
        #expect(
            world.run(milliseconds: 60_000) { attachment.volume.membersInSync == 3 })
        try #require(world.detach(attachment)).get()
        let first = world.contents(of: 0, isDurable: true)
        for member in 1..<3 { #expect(world.contents(of: member, isDurable: true) == first) }
        for round in 0..<59 { #expect(first[round * 32_768] == UInt8(round + 1)) }
    }

    @Test func comparisonsAndZeroesAreTheVolumes() throws {
        fill(0..<512, 1)
        fill(512..<1024, 2)
        #expect(perform(.write, start: 3, count: 1, at: 0) == .success)
        #expect(perform(.compare, start: 3, count: 1, at: 0) == .success)
        #expect(perform(.compare, start: 3, count: 1, at: 512)?.matches(.compareFailure) == true)
        #expect(perform(.compareAndWrite, start: 3, count: 1, at: 512, second: 0)?.matches(.compareFailure) == true)
        #expect(perform(.compareAndWrite, start: 3, count: 1, at: 0, second: 512) == .success)
        #expect(perform(.compare, start: 3, count: 1, at: 512) == .success)
        #expect(perform(.verify, start: 0, count: 512) == .success)
        #expect(perform(.writeZeroes, start: 3, count: 1) == .success)
        #expect(perform(.read, start: 3, count: 1, at: 1024) == .success)
        #expect(host.memory[1024..<1536].allSatisfy { $0 == 0 })
    }

    /// I/O waits while the volume recovers, and goes on; it does not fail.
    @Test func ioWaitsForTheVolume() throws {
        for member in 0..<3 { world.killMember(member) }
        world.run(milliseconds: 200)
        let host = host
        let world = world
        // Unchecked: one thread drives a simulation.
        final class Box: @unchecked Sendable { var completion: IOCompletion? }
        let box = Box()
        fill(0..<512, 9)
        host.group.spawn { box.completion = await host.perform(.write, start: 9, count: 1) }
        world.run(milliseconds: 1_000)
        #expect(box.completion == nil)
        for member in 0..<3 { world.startMember(member) }
        #expect(world.run(milliseconds: 20_000) { box.completion != nil })
        #expect(box.completion?.isSuccess == true)
    }

    /// Another host takes the volume over: the host of the deposed process hears that this path is lost, and may try another.
    @Test func aFencedVolumeIsAPathThatIsLost() throws {
        var options = world.options(host: 2)
        options.takesOver = true
        let second = try #require(world.attach(options)).get()
        let status = try #require(perform(.write, start: 0, count: 1))
        #expect(status.matches(.asymmetricAccessPersistentLoss) && !status.isDoNotRetry)
        try #require(world.detach(second)).get()
    }
}
