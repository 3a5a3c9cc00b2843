import CLibNVMe
import InProcessTransport
import NVMeTarget
import Simulation
import TargetInterface
import Testing

@testable import NVMeTargetTests

/// Ends that come while something is under way.
@Suite("Holes: ends")
struct TeardownHoles {
    @Test(
        "A namespace, and a subsystem, leave the device to the commands that it has", arguments: [false, true], [1, 2])
    func removal(ofSubsystem: Bool, groups: Int) throws {
        let (world, disk) = try EngineWorld.steered(groups: groups)
        let host = try world.attach(ioQueues: 2)
        disk.behaviour.isStuck = true
        let ids = (0..<16).map { host.sendRead(UInt64($0) * 8, blocks: 8, queue: $0 % 2) }
        world.settle()
        try world.state.change {
            if ofSubsystem { $0.subsystems = [] } else { $0[EngineWorld.nqn]?.namespaces = [] }
        }
        try world.proceed()
        world.pass(milliseconds: 50)
        #expect(host.io.allSatisfy { $0.answers.count == 1 }, "to Connect alone: the device has the commands still")
        // Others are served meanwhile.
        if !ofSubsystem { #expect(try host.manage(.keepAlive).isSuccess) }
        disk.behaviour.isStuck = false
        for (place, id) in ids.enumerated() where !ofSubsystem {
            #expect(host.status(of: id, queue: place % 2) == .success)
        }
        for queue in host.io { #expect(Set(queue.answers.map(\.commandID)).count == queue.answers.count) }
    }

    @Test("An Abort from another reactor than the command's ends in one answer to each", arguments: 0...6)
    func aborts(rounds: Int) throws {
        let (world, disk) = try EngineWorld.steered(groups: 2)
        let host = try world.attach(ioQueues: 2)
        disk.behaviour.isStuck = true
        let ids = (0..<8).map { host.sendRead(blocks: 8, queue: $0 % 2) }
        for _ in 0..<rounds { _ = world.poll() }
        let aborts = ids.enumerated().map { place, id in
            world.send(.abort(id, sq: place % 2 + 1), on: host.admin)
        }
        for _ in 0..<rounds { _ = world.poll() }
        disk.behaviour.isStuck = false
        world.settle()
        for (place, id) in ids.enumerated() {
            let status = try #require(host.status(of: id, queue: place % 2))
            let isAborted = try #require(world.answer(to: aborts[place], on: host.admin)).dword0 & 1 == 0
            #expect(status.code == (isAborted ? NVME_SC_ABORT_REQ.rawValue : 0))
        }
        for queue in host.queues { #expect(Set(queue.answers.map(\.commandID)).count == queue.answers.count) }
    }

    /// Queue pairs end with commands in every state, and their places go to others at once.
    @Test("What a queue pair had goes back when it ends, and nothing of it is taken for its successor's")
    func queuePairs() throws {
        let (world, disk) = try TargetWorld.onDisk(groups: 1)
        disk.behaviour.latency = 1_000...200_000
        let audit = try world.audit()
        for round in 0..<24 {
            let host = try world.attach(ioQueues: 2)
            for number in 0..<16 {
                if number % 2 == 0 {
                    _ = host.sendWrite(0xEE, at: 128, blocks: 8, queue: number % 4 / 2)
                } else {
                    _ = host.sendRead(blocks: 8, queue: number % 4 / 2)
                }
            }
            world.simulation.run(forNanoseconds: UInt64(round) * 4_000)
            host.host.destroyAll()
            let next = try world.attach()
            let counts = next.queues.map(\.answers.count)
            world.pass(milliseconds: 5)
            #expect(next.queues.map(\.answers.count) == counts, "answers that nobody has asked for")
            next.host.destroyAll()
        }
        audit.end()
    }
}
