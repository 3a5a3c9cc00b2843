import CLibNVMe
import FabricInterface
import NVMeTarget
import Simulation
import TargetTransport
import Testing

/// Devices with few entries in their queues, and one that has stopped.
@Suite struct SmallDeviceTests {
    /// Sends a read of 8 KiB with so many descriptors, or a write.
    private func send(
        _ host: AttachedHost, descriptors: Int, _ opcode: nvme_io_opcode = nvme_cmd_read
    ) -> UInt16 {
        host.io[0].pieces = Array(repeating: 512, count: descriptors - 1)
        return opcode == nvme_cmd_read ? host.sendRead(blocks: 16) : host.sendWrite(1, blocks: 16)
    }

    /// Each queue pair may post what fits into its send queue. All of them together may not post more than the completion
    /// queue can hold, for when they fail all of it completes; the simulated device traps where that is too much.
    @Test func whatIsPostedFitsIntoTheCompletionQueueWhenAllFails() throws {
        let world = try TargetWorld(limits: { $0.maxCompletionQueueEntries = 128 + 64 })
        let audit = try world.audit()
        let hosts = try (0..<6).map { _ in try world.attach() }
        // Slow enough for all answers to be under way at once, if they may.
        world.slowDown(milliseconds: 3)
        for host in hosts { for _ in 0..<16 { _ = send(host, descriptors: 16) } }
        world.pass(milliseconds: 8)
        #expect(world.groups[0].poolUse[0].port.waitingAnswers > 0, "not all may be posted")
        for host in hosts { host.host.destroyAll() }
        world.slowDown(milliseconds: nil)
        audit.end()
    }

    @Test func everybodyIsServedWithASmallCompletionQueue() throws {
        let world = try TargetWorld(limits: { $0.maxCompletionQueueEntries = 128 + 20 })
        let hosts = try (0..<4).map { _ in try world.attach() }
        let before = try world.baseline()
        let sent = hosts.flatMap { host in
            (0..<16).map { (host, send(host, descriptors: 16, $0 % 2 == 0 ? nvme_cmd_read : nvme_cmd_write)) }
        }
        for (host, id) in sent { #expect(host.status(of: id) == .success) }
        world.expectPools(before)
    }

    /// Identify Controller MSDBD says how many descriptors fit, and more are refused, not waited for.
    @Test func aShortSendQueueLimitsTheDescriptors() throws {
        let world = try TargetWorld(limits: { $0.maxWorkRequests = 8 })
        let host = try world.attach()
        #expect(try world.identify(on: host.admin)[MemoryLayout<nvme_id_ctrl>.offset(of: \.msdbd)!] == 7)
        for opcode in [nvme_cmd_read, nvme_cmd_write] {
            #expect(host.status(of: send(host, descriptors: 7, opcode)) == .success)
            #expect(host.status(of: send(host, descriptors: 8, opcode)) == .refused(NVME_SC_SGL_INVALID_COUNT))
        }
        host.io[0].pieces = []
        host.expectServed()
    }

    /// A queue pair whose flushes never come is destroyed after a while: what it held is needed by others.
    @Test func aQueuePairThatDoesNotFlushIsDestroyed() throws {
        let world = try TargetWorld()
        let audit = try world.audit()
        let host = try world.attach()
        world.slowDown(milliseconds: 5)
        for _ in 0..<4 { _ = (host.sendWrite(1, blocks: 8), host.sendRead(blocks: 8)) }
        world.pass(milliseconds: 8)
        let port = world.groups[0].poolUse[0].port
        #expect(port.runningFetches > 0 && port.runningAnswers > 0)
        world.targetDevice.withholdsFlushes = true
        host.host.destroyAll()
        world.pass(milliseconds: 1000)
        #expect(world.groups[0].poolUse[0].requests.isEmpty == false, "the flushes have not come")
        world.targetDevice.withholdsFlushes = false
        world.slowDown(milliseconds: nil)
        audit.end(within: 10_000)
    }
}
