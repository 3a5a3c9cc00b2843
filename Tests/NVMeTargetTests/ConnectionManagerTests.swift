import FabricInterface
import NVMeTarget
import Simulation
import TargetInterface
import Testing

/// The private data of a connection request. The rejection is 4 bytes: RECFMT 0 and a status of the NVMe
/// RDMA Transport specification, "RDMA_CM_REJECT Private Data" (Linux: `enum nvme_rdma_cm_status`).
@Suite struct ConnectionManagerTests {
    struct Case: CustomTestStringConvertible, Sendable {
        var name: String
        var status: UInt8
        var testDescription: String { name }
        nonisolated(unsafe) var change: (inout RawQueueOptions) -> Void
    }

    static let cases = [
        Case(name: "another record format", status: 2) { options in
            options.replacedPrivateData = [1, 0, 0, 0, 32, 0, 31, 0] + [UInt8](repeating: 0, count: 24)
        },
        Case(name: "a queue identifier that is too high", status: 3) { $0.queueID = 9 },
        Case(name: "the highest queue identifier", status: 3) { $0.queueID = 0xFFFF },
        Case(name: "an admin send queue that is too long", status: 4) { $0.hostSendQueueSize = 128 },
        Case(name: "the longest send queue", status: 4) { options in
            options.queueID = 1
            options.hostSendQueueSize = 0xFFFF
        },
        Case(name: "no receive queue", status: 5) { $0.hostReceiveQueueSize = 0 },
        Case(name: "no READs answered", status: 7) { $0.responderResources = 0 },
    ]

    @Test(arguments: cases) func badPrivateDataIsRejected(_ test: Case) throws {
        let world = try TargetWorld()
        let witness = try world.attach()
        let before = try world.baseline()
        var options = RawQueueOptions()
        test.change(&options)
        let queue = try world.open(world.addHost(), options)
        #expect(queue.accepted == nil)
        #expect(queue.rejection.map { Array($0.prefix(4)) } == [0, 0, test.status, 0])
        world.expectServed(witness)
        world.expectPools(before)
    }

    /// On InfiniBand and RoCE private data arrives padded; on iWARP its length is what was sent.
    @Test(arguments: [0, 1, 10, 31]) func shortPrivateDataIsRejected(length: Int) throws {
        var limits = DeviceLimits.simulated
        limits.isIWARP = true
        let world = try TargetWorld(limits: limits)
        let witness = try world.attach()
        let before = try world.baseline()
        let host = world.addHost()
        host.device.limits.isIWARP = true
        var options = RawQueueOptions()
        options.replacedPrivateData = Array(options.privateData.prefix(length))
        let queue = try world.open(host, options)
        #expect(queue.rejection.map { Array($0.prefix(4)) } == [0, 0, 1, 0])
        world.expectServed(witness)
        world.expectPools(before)
    }

    @Test func acceptanceSaysTheReceiveQueueSize() throws {
        let world = try TargetWorld()
        var options = RawQueueOptions()
        options.hostSendQueueSize = 15
        let queue = try world.open(world.addHost(), options)
        // RECFMT 0, then CRQSIZE: room for each command that the host may send.
        let data = try #require(queue.accepted?.privateData)
        #expect(data[0] == 0 && data[1] == 0)
        #expect(Int(data[2]) | Int(data[3]) << 8 >= 16)
    }

    /// The target never runs more READs than the host answers.
    @Test(arguments: [1, 3, 255] as [UInt8]) func readDepthIsWhatBothCan(resources: UInt8) throws {
        let world = try TargetWorld()
        var options = RawQueueOptions()
        options.responderResources = resources
        let queue = try world.open(world.addHost(), options)
        #expect(queue.isOpen)
        let accepted = try #require(queue.accepted)
        #expect(accepted.responderResources <= resources && accepted.responderResources >= 1)
    }

    @Test func aHostThatGivesUpWhileConnectingLeavesNothingBehind() throws {
        let world = try TargetWorld(groups: 2)
        let witness = try world.attach(ioQueues: 2)
        let before = try world.baseline()
        for delay in stride(from: UInt64(5_000), through: 400_000, by: 5_000) {
            let host = world.addHost()
            let queue = try host.open(world.address, RawQueueOptions())
            world.simulation.run(forNanoseconds: delay)
            host.destroy(queue)
        }
        world.expectServed(witness)
        world.expectPools(before)
    }

    @Test func aDeviceWithoutRoomRefusesAndGoesOn() throws {
        let world = try TargetWorld()
        let witness = try world.attach()
        world.targetDevice.limits.maxQueuePairs = world.targetDevice.existingQueuePairs
        let before = try world.baseline()
        let refused = try world.open(world.addHost())
        // Status 6: no resources.
        #expect(refused.rejection.map { Array($0.prefix(4)) } == [0, 0, 6, 0])
        world.expectPools(before)
        world.targetDevice.limits.maxQueuePairs += 8
        world.expectServed(witness)
        #expect(try world.open(world.addHost()).isOpen)
    }
}
