import CLibNVMe
import InProcessTransport
import Simulation
import Testing

/// The loss of any one message, and hosts that fall silent halfway.
@Suite struct LossTests {
    /// A visit of a host with the loss of the message of that number, if there are as many.
    private func visit(groups: Int, losing step: UInt64) throws -> Bool {
        let world = try TargetWorld(groups: groups, network: SimulatedNetwork(seed: step + 1))
        let audit = try world.audit()
        let host = world.addHost()
        let lost = world.network.counters.messages + step
        var wasLost = false
        world.network.fate = { message in
            if message.step == lost { wasLost = true }
            return message.step == lost ? .lost : .delivered
        }
        // A step that the host cannot do after the loss is no failure.
        try? session(world, host)
        host.destroyAll()
        world.pass(milliseconds: 10)
        world.network.fate = nil
        audit.end("message \(step), \(groups) reactors", within: 60_000)
        return wasLost
    }

    private func session(_ world: TargetWorld, _ host: RawHost) throws {
        let attached = try world.attach(host, ioQueues: 2, keepAlive: 1000)
        world.send(.event, on: attached.admin)
        for queue in attached.io {
            queue.pieces = [4096]
            try world.execute(.io(nvme_cmd_write, 0, 16), .fromHost(.blocks(16, of: 1)), on: queue)
            try world.execute(.io(nvme_cmd_read, 0, 16), .toHost(8192), on: queue)
        }
        for queue in host.queues { queue.disconnect() }
    }

    @Test(arguments: [1, 2]) func theLossOfAnyMessageLeavesNothingBehind(groups: Int) throws {
        var step: UInt64 = 0
        while try visit(groups: groups, losing: step) { step += 1 }
        #expect(step > 40, "a visit has more messages than \(step)")
    }

    /// A host that had no power any more before the target heard that it was connected.
    @Test func aHostThatNeverConnectsIsEnded() throws {
        let world = try TargetWorld()
        let audit = try world.audit()
        let dark = world.addHost()
        world.network.fate = { $0.kind == .readyToUse ? .lost : .delivered }
        _ = try world.open(dark)
        world.network.fate = nil
        dark.device.isReachable = false
        world.pass(milliseconds: 60_000)
        #expect(audit.witness.admin.isOpen, "a host that has connected may be silent")
        audit.end()
    }
}
