import AllocationProbe
import Base
import CLibNVMe
import NVMeTarget
import Simulation
import Testing

/// The steady state costs no allocation, and everything comes back.
@Suite struct SteadyStateTests {
    /// Keeps a queue full of reads and writes of 4 KiB; counts the allocations of the target's polls alone.
    private func run(
        _ world: TargetWorld, _ attached: AttachedHost, commands: Int
    ) throws -> (ended: Int, allocations: UInt64) {
        let queue = attached.io[0]
        let host = attached.host
        let offset = attached.scratch(4096 * 16)
        let patterns = (0..<16).map { number -> RawCommand in
            let opcode = number % 2 == 0 ? nvme_cmd_read : nvme_cmd_write
            return RawCommand.io(opcode, UInt64(number * 8), 8).at(host, offset + number * 4096, 4096)
        }
        var sent = 0
        var ended = 0
        var allocations: UInt64 = 0
        var idle = 0
        while ended < commands, idle < 100_000 {
            while sent < commands, sent - ended < 16 {
                queue.send(patterns[sent % 16])
                sent += 1
            }
            _ = host.poll(now: world.network.now)
            var arrived = 0
            while let completion = queue.completions.first {
                #expect(completion.isSuccess)
                _ = queue.take(completion.commandID)
                arrived += 1
            }
            ended += arrived
            idle = arrived > 0 ? 0 : idle + 1
            let before = allocationsOfThread()
            _ = world.groups[0].poll(now: world.network.now)
            allocations += allocationsOfThread() - before
            world.network.run(until: world.network.now.advanced(byNanoseconds: 1000))
        }
        return (ended, allocations)
    }

    @Test func inputAndOutputAllocatesNothing() throws {
        try #require(allocationProbeIsActive())
        let world = try TargetWorld()
        let attached = try world.attach()
        // Code that runs for the first time may allocate: the language's run-time does so.
        _ = try run(world, attached, commands: 200)
        let (ended, allocations) = try run(world, attached, commands: 5000)
        #expect(ended == 5000)
        // The timer's tick, ten times a second, looks at controllers under their locks and may allocate.
        #expect(allocations == 0, "\(allocations) allocations for 5000 commands")
    }

    @Test func anIdlePollDoesNothing() throws {
        try #require(allocationProbeIsActive())
        let world = try TargetWorld(groups: 2)
        let hosts = try (0..<4).map { _ in try world.attach(ioQueues: 2) }
        world.pass(milliseconds: 300)
        #expect(hosts.allSatisfy { $0.admin.isOpen })
        for group in world.groups { _ = group.poll(now: world.network.now) }
        let messages = world.network.counters.messages
        let before = allocationsOfThread()
        var work = 0
        let (first, second) = (world.groups[0], world.groups[1])
        for _ in 0..<10_000 { work += first.poll(now: world.network.now) + second.poll(now: world.network.now) }
        let allocations = allocationsOfThread() - before
        #expect(allocations == 0)
        #expect(work == 0)
        #expect(world.network.counters.messages == messages)
    }

    @Test func aThousandConnectionsComeAndGoAndLeaveNothing() throws {
        let world = try TargetWorld(groups: 2)
        let witness = try world.attach()
        let host = world.addHost()
        _ = try world.attach(host, ioQueues: 2)
        host.destroyAll()
        let before = try world.baseline()
        let tables = world.groups.map(\.controllerPlaces)
        for cycle in 0..<1000 {
            let attached = try world.attach(host, ioQueues: 1)
            let event = attached.admin.send(.event)
            if cycle % 3 == 0 {
                let read = RawCommand.io(nvme_cmd_read, 0, 8).at(host, host.connectData(), 1024)
                attached.io[0].send(read)
            }
            if cycle % 2 == 0 {
                for queue in host.queues { host.fabric.disconnect(queue.connection!) }
            }
            host.destroyAll()
            #expect(attached.admin.take(event) == nil)
            // A queue pair is kept for a moment after its end; without this there would be hundreds of such at once.
            world.pass(milliseconds: 150)
        }
        world.expectPools(before)
        #expect(world.groups.map(\.controllerPlaces) == tables, "the tables are reused")
        world.expectServed(witness)
    }
}
