import Base
import NVMeInitiator
import NVMeSpec
import Testing

/// Controllers in numbers, on one thread.
@Suite struct ManyControllersTests {
    let world: DirectWorld

    init() throws { world = try DirectWorld() }

    /// Two buffers for the data of control commands, and ten controllers that connect at once: each has its turn.
    @Test func aControlCommandWaitsForMemory() throws {
        world.transport.controlBuffers = 2
        let controllers = (0..<10).map { _ in world.controller() }
        let failures = Box<[InitiatorError]>([])
        let ends = Box(0)
        for controller in controllers {
            world.group.spawn {
                do throws(InitiatorError) { try await controller.connect() } catch { failures.value.append(error) }
                ends.value += 1
            }
        }
        try #require(try world.run(seconds: 10) { ends.value == controllers.count })
        #expect(failures.value.isEmpty, "\(failures.value)")
        #expect(world.transport.mostControlBuffers == 2)
        for controller in controllers { try world.close(controller) }
    }

    /// A command that waits for memory ends with its time, as one that waits for an answer.
    @Test func aControlCommandWaitsNoLongerThanItMay() throws {
        let controller = world.controller { $0.adminTimeoutMilliseconds = 300 }
        try world.connect(controller).get()
        world.transport.controlBuffers = 0
        let start = world.now
        let isTimeout = try world.wait {
            do throws(InitiatorError) { _ = try await controller.identify(.controller) } catch {
                if case .timeout = error { return true }
            }
            return false
        }
        #expect(isTimeout)
        #expect((300_000_000...400_000_000).contains(world.now.nanoseconds(since: start)))
        world.transport.controlBuffers = nil
        try world.close(controller)
    }

    /// A command that waits for memory ends when its connection is lost.
    @Test func aLostConnectionEndsTheWaitForMemory() throws {
        let controller = world.controller { $0.recovery = .fail }
        try world.connect(controller).get()
        world.transport.controlBuffers = 0
        let failure = Box<InitiatorError?>(nil)
        world.group.spawn {
            do throws(InitiatorError) { _ = try await controller.identify(.controller) } catch { failure.value = error }
        }
        try world.run(seconds: 1)
        #expect(failure.value == nil)
        try world.close(controller)
        try #require(try world.run(seconds: 1) { failure.value != nil })
        guard case .connectionLost = failure.value else {
            Issue.record("\(String(describing: failure.value))")
            return
        }
    }

    /// Thirty idle controllers wake their thread at common moments: sixteen in a Keep Alive Timeout, not a few for each of them.
    @Test func idleControllersWakeTheirThreadTogether() throws {
        world.target.identify.attributes = .trafficBasedKeepAlive
        var controllers: [Controller] = []
        for number in 0..<30 {
            let controller = world.controller { $0.keepAliveMilliseconds = 2000 }
            try world.connect(controller).get()
            controllers.append(controller)
            // They have come one after the other.
            let next = world.now.advanced(byMilliseconds: UInt64(number % 7) * 13)
            try world.run { world.now >= next }
        }
        try world.run(seconds: 3)
        var wakes = 0
        let end = world.now.advanced(byMilliseconds: 10_000)
        while world.now < end {
            // All that has arrived is worked off; then the thread sleeps until something is due.
            while try world.group.poll(now: world.now) + world.target.poll() > 0 {}
            world.now = max(min(world.group.nextDeadline, end), world.now.advanced(byNanoseconds: 1000))
            wakes += 1
        }
        #expect(wakes <= 5 * 16 + 10, "\(wakes) in five timeouts")
        #expect(world.events.value.allSatisfy { if case .disconnected = $0 { false } else { true } })
        for controller in controllers { try world.close(controller) }
    }

    /// A user of one namespace does not pay for the others of its subsystem.
    @Test func oneNamespaceIsLookedAtAlone() throws {
        for nsid: UInt32 in 2...40 {
            world.target.namespaces[nsid] = IdentifyNamespace(blockCount: 64, blockSize: 4096)
        }
        let controller = world.controller { $0.onlyNamespace = 17 }
        try world.connect(controller).get()
        #expect(controller.namespaces.map(\.nsid) == [17])
        #expect(controller.namespaces.map(\.blockSize) == [4096])
        let asked = world.target.capsules.filter { $0.queue == 0 && $0.entry.opcode == AdminOpcode.identify.rawValue }
            .map(\.entry.nsid).filter { $0 > 0 }
        #expect(asked.allSatisfy { (16...17).contains($0) }, "\(asked)")
        try world.close(controller)
        let other = world.controller { $0.onlyNamespace = 41 }
        try world.connect(other).get()
        #expect(other.namespaces.isEmpty)
        try world.close(other)
    }
}
