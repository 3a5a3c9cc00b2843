import AllocationProbe
import Base
import CLibNVMe
import InProcessTransport
import NVMeTarget
import Simulation
import Testing

/// The steady state costs no allocation, and everything comes back.
@Suite struct SteadyStateTests {
    /// Keeps a queue full of reads and writes of 4 KiB; counts the allocations of the target's polls alone.
    private func run(_ world: TargetWorld, _ attached: AttachedHost, commands: Int) throws -> UInt64 {
        let (host, queue) = (attached.host, attached.io[0])
        let offset = host.allocate(4096 * 16)
        let patterns = (0..<16).map {
            RawCommand.io($0 % 2 == 0 ? nvme_cmd_read : nvme_cmd_write, UInt64($0 * 8), 8)
                .at(host, offset + $0 * 4096, 4096)
        }
        let before = queue.answers.count
        var (sent, allocations, rounds) = (0, UInt64(0), 0)
        while queue.answers.count - before < commands, rounds < 1_000_000 {
            while sent < commands, sent - (queue.answers.count - before) < 16 {
                world.send(patterns[sent % 16], on: queue)
                sent += 1
            }
            _ = host.poll(now: world.network.now)
            let allocated = allocationsOfThread()
            _ = world.groups[0].poll(now: world.network.now)
            allocations += allocationsOfThread() - allocated
            world.network.run(until: world.network.now.advanced(byNanoseconds: 1000))
            rounds += 1
        }
        #expect(queue.answers.count - before == commands)
        #expect(queue.answers.allSatisfy { $0.isSuccess })
        return allocations
    }

    @Test func inputAndOutputAllocatesNothing() throws {
        try #require(allocationProbeIsActive())
        let (world, attached) = try TargetWorld().attached()
        // Code that runs for the first time may allocate: the language's run-time does so.
        _ = try run(world, attached, commands: 200)
        let allocations = try run(world, attached, commands: 5000)
        // The timer's tick, ten times a second, looks at controllers under their locks and may allocate.
        #expect(allocations == 0, "\(allocations) allocations for 5000 commands")
    }

    @Test func anIdlePollDoesNothing() throws {
        try #require(allocationProbeIsActive())
        let world = try TargetWorld(groups: 2)
        let hosts = try (0..<4).map { _ in try world.attach(ioQueues: 2) }
        world.pass(milliseconds: 300)
        #expect(hosts.allSatisfy { $0.isThere })
        let (first, second) = (world.groups[0], world.groups[1])
        _ = first.poll(now: world.network.now) + second.poll(now: world.network.now)
        let messages = world.network.counters.messages
        let before = allocationsOfThread()
        var work = 0
        for _ in 0..<10_000 { work += first.poll(now: world.network.now) + second.poll(now: world.network.now) }
        #expect(allocationsOfThread() == before && work == 0)
        #expect(world.network.counters.messages == messages)
    }

    @Test func aThousandConnectionsComeAndGoAndLeaveNothing() throws {
        let world = try TargetWorld(groups: 2)
        let host = world.addHost()
        _ = try world.attach(host, ioQueues: 2)
        host.destroyAll()
        let audit = try world.audit()
        let tables = world.groups.map(\.controllerPlaces)
        for cycle in 0..<1000 {
            let attached = try world.attach(host, ioQueues: 1)
            let event = world.send(.event, on: attached.admin)
            // A length that is not that of its blocks.
            if cycle % 3 == 0 { attached.send(.io(nvme_cmd_read, 0, 8), .toHost(1024)) }
            if cycle % 2 == 0 { for queue in host.queues { queue.disconnect() } }
            host.destroyAll()
            #expect(attached.admin.answer(to: event) == nil)
            // A queue pair is kept for a moment after its end; without this there would be hundreds of such at once.
            world.pass(milliseconds: 150)
        }
        audit.end()
        #expect(world.groups.map(\.controllerPlaces) == tables, "the tables are reused")
    }
}
