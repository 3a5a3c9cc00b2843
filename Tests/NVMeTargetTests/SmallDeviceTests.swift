import BlockInterface
import CLibNVMe
import FabricInterface
import InProcessTransport
import NVMeTarget
import Simulation
import TargetInterface
import TargetTransport
import Testing

/// Devices with few entries in their queues, and one that has stopped.
@Suite struct SmallDeviceTests {
    private func reads(_ attached: AttachedHost, descriptors: Int) -> RawCommand {
        RawCommand.io(nvme_cmd_read, 0, 16).with(sgl: RawSGL.offset(0, length: UInt32(descriptors * 16), type: 0x31))
    }

    /// As many descriptors as are asked for, together 8 KiB.
    private func list(_ attached: AttachedHost, descriptors: Int) -> [UInt8] {
        let offset = attached.scratch(8192)
        return (0..<descriptors).flatMap { number -> [UInt8] in
            let start = number * 512
            let length = number == descriptors - 1 ? 8192 - start : 512
            return attached.host.keyed(offset + start, length)
        }
    }

    /// Each queue pair may post what fits into its send queue. All of them together may not post more than the completion
    /// queue can hold, for when they fail all of it completes; the simulated device traps where that is too much.
    @Test func whatIsPostedFitsIntoTheCompletionQueueWhenAllFails() throws {
        var limits = DeviceLimits.simulated
        limits.maxCompletionQueueEntries = 128 + 64
        let world = try TargetWorld(limits: limits)
        let audit = try world.audit()
        let hosts = try (0..<6).map { _ in try world.attach() }
        // Slow enough for all answers to be under way at once, if they may.
        world.network.delays.transit = 3_000_000...3_000_000
        for attached in hosts {
            for _ in 0..<16 {
                attached.io[0].send(reads(attached, descriptors: 16), data: list(attached, descriptors: 16))
            }
        }
        world.pass(milliseconds: 8)
        #expect(world.groups[0].poolUse[0].port.waitingAnswers > 0, "not all may be posted")
        for attached in hosts { attached.host.destroyAll() }
        world.network.delays.transit = 1000...2000
        audit.end()
    }

    @Test func everybodyIsServedWithASmallCompletionQueue() throws {
        var limits = DeviceLimits.simulated
        limits.maxCompletionQueueEntries = 128 + 20
        let world = try TargetWorld(limits: limits)
        let hosts = try (0..<4).map { _ in try world.attach() }
        let before = try world.baseline()
        var ids: [(AttachedHost, UInt16)] = []
        for attached in hosts {
            let write = RawCommand.io(nvme_cmd_write, 0, 16).with(sgl: RawSGL.offset(0, length: 256, type: 0x31))
            for _ in 0..<8 {
                let data = list(attached, descriptors: 16)
                ids.append((attached, attached.io[0].send(reads(attached, descriptors: 16), data: data)))
                ids.append((attached, attached.io[0].send(write, data: data)))
            }
        }
        for (attached, id) in ids { #expect(try world.completion(of: id, attached.io[0]).isSuccess) }
        world.expectPools(before)
    }

    /// Identify Controller MSDBD says how many descriptors fit, and more are refused, not waited for.
    @Test func aShortSendQueueLimitsTheDescriptors() throws {
        var limits = DeviceLimits.simulated
        limits.maxWorkRequests = 8
        let world = try TargetWorld(limits: limits)
        let attached = try world.attach()
        let offset = attached.host.allocate(4096)
        let identify = RawCommand(opcode: nvme_admin_identify.rawValue).with(10, 1).at(attached.host, offset, 4096)
        #expect(try world.execute(attached.admin, identify).isSuccess)
        #expect(attached.host.memory[offset + MemoryLayout<nvme_id_ctrl>.offset(of: \.msdbd)!] == 7)
        for opcode in [nvme_cmd_read.rawValue, nvme_cmd_write.rawValue] {
            var command = reads(attached, descriptors: 7)
            command.bytes[0] = UInt8(opcode)
            #expect(try world.execute(attached.io[0], command, data: list(attached, descriptors: 7)).isSuccess)
            command = reads(attached, descriptors: 8)
            command.bytes[0] = UInt8(opcode)
            let refused = try world.execute(attached.io[0], command, data: list(attached, descriptors: 8))
            #expect(refused.status == .refused(NVME_SC_SGL_INVALID_COUNT))
        }
        world.expectServed(attached)
    }

    /// A queue pair whose flushes never come is destroyed after a while: what it held is needed by others.
    @Test func aQueuePairThatDoesNotFlushIsDestroyed() throws {
        let world = try TargetWorld()
        let audit = try world.audit()
        let attached = try world.attach()
        world.network.delays.transit = 5_000_000...5_000_000
        let write = RawCommand.io(nvme_cmd_write, 0, 8).at(attached.host, attached.scratch(4096), 4096)
        let read = RawCommand.io(nvme_cmd_read, 0, 8).at(attached.host, attached.scratch(4096), 4096)
        for number in 0..<8 { attached.io[0].send(number % 2 == 0 ? write : read) }
        world.pass(milliseconds: 8)
        let port = world.groups[0].poolUse[0].port
        #expect(port.runningFetches > 0 && port.runningAnswers > 0)
        world.targetDevice.withholdsFlushes = true
        attached.host.destroyAll()
        world.pass(milliseconds: 1000)
        #expect(world.groups[0].poolUse[0].requests.isEmpty == false, "the flushes have not come")
        world.targetDevice.withholdsFlushes = false
        world.network.delays.transit = 1000...2000
        audit.end(withinMilliseconds: 10_000)
    }

    /// A reactor forgets a subsystem that has gone and that nobody uses.
    @Test func removedSubsystemsAreForgotten() throws {
        let world = try EngineWorld(groups: 2)
        let witness = try world.attach(ioQueues: 2, host: 1)
        let before = world.groups.map(\.heldViews)
        for number in 0..<20 {
            let nqn = "nqn.2024-01.io.tercet:temporary-\(number)"
            try world.change { $0[nqn] = SubsystemDefinition(nqn: nqn, serialNumber: "T") }
            _ = try world.attach(ioQueues: 2, nqn: nqn)
            #expect(world.groups.map(\.heldViews) == before.map { $0 + 1 })
            try world.change { $0[nqn] = nil }
            #expect(world.pass(atMost: 1000) { world.groups.map(\.heldViews) == before }, "subsystem \(number)")
        }
        witness.expectServed()
    }
}
