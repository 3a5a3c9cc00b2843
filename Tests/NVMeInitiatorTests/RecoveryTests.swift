import Base
import NVMeInitiator
import NVMeSpec
import Testing

/// Operations and associations when connections are lost, answers do not come and targets go.
@Suite struct RecoveryTests {
    let world: DirectWorld

    init() throws { world = try DirectWorld() }

    private func isRead(_ capsule: Capsule) -> Bool {
        capsule.queue > 0 && capsule.entry.opcode == NVMOpcode.read.rawValue
    }

    private func count(_ matches: (ControllerEvent) -> Bool) -> Int { world.events.value.filter(matches).count }

    private var connections: Int { count { if case .connected = $0 { true } else { false } } }
    private var losses: Int { count { if case .disconnected = $0 { true } else { false } } }

    /// Submits reads, tagged from 0 on.
    private func submit(_ count: Int, _ queue: IOQueue, _ memory: TestMemory, timeout: UInt32 = 0) {
        for tag in 0..<count {
            let operation = IOOperation(
                .read, startingLBA: UInt64(tag), blockCount: 1, data: memory.part(0, 512), tag: UInt64(tag),
                timeoutMilliseconds: timeout)
            #expect(queue.submit(operation) == .accepted)
        }
    }

    @Test func tellsUnknownFromNotDone() throws {
        let controller = world.controller {
            $0.recovery = .fail
            $0.queueEntries = 4
        }
        try world.connect(controller).get()
        let isRead = isRead
        world.target.react = { isRead($0) ? .ignore : nil }
        let queue = controller.queues[0]
        let recorder = Recorder()
        queue.sink = recorder
        let memory = try world.memory(controller, bytes: 512)
        submit(8, queue, memory)
        // Three commands fit the submission queue and leave; five operations wait.
        try world.run { world.target.commands(.read).count == 3 }
        world.target.vanish()
        try world.run { recorder.completions.count == 8 }
        let byTag = recorder.completions.sorted { $0.tag < $1.tag }
        #expect(byTag.prefix(3).map(\.outcome) == [.unknown, .unknown, .unknown])
        #expect(byTag.dropFirst(3).map(\.outcome) == Array(repeating: .surelyNotDone, count: 5))
        #expect(Set(recorder.completions.map(\.failure)) == [.connectionLost])
        #expect(queue.submit(IOOperation(.flush)) == .notConnected)
    }

    /// The time is over, the connection is to end, and still somebody may write into the memory.
    @Test func givesNoBufferBackWhileADeviceReachesIt() throws {
        let controller = world.controller {
            $0.recovery = .fail
            $0.ioTimeoutMilliseconds = 500
        }
        try world.connect(controller).get()
        let isRead = isRead
        world.target.react = { isRead($0) ? .ignore : nil }
        let recorder = Recorder()
        controller.queues[0].sink = recorder
        world.transport.withholdsEnds = true
        submit(1, controller.queues[0], try world.memory(controller, bytes: 512))
        try world.run(seconds: 2)
        #expect(recorder.completions.isEmpty)
        world.transport.withholdsEnds = false
        try world.run { recorder.completions.count == 1 }
        #expect(recorder.completions[0].outcome == .unknown)
        #expect(recorder.completions[0].failure == .timeout)
    }

    @Test func aDeadlineOfOneCommandCountsForItAlone() throws {
        let controller = world.controller { $0.recovery = .fail }
        try world.connect(controller).get()
        let isRead = isRead
        world.target.react = { isRead($0) ? .ignore : nil }
        let recorder = Recorder()
        controller.queues[0].sink = recorder
        submit(1, controller.queues[0], try world.memory(controller, bytes: 512), timeout: 100)
        let start = world.now
        try world.run { recorder.completions.count == 1 }
        #expect(recorder.completions[0].failure == .timeout)
        #expect(world.now.nanoseconds(since: start) < 1_000_000_000)
    }

    @Test func repeatsOperationsOnTheNextConnection() throws {
        let controller = world.controller { $0.queueEntries = 4 }
        try world.connect(controller).get()
        let isRead = isRead
        world.target.react = { isRead($0) ? .ignore : nil }
        let recorder = Recorder()
        controller.queues[0].sink = recorder
        let memory = try world.memory(controller, bytes: 512)
        submit(8, controller.queues[0], memory)
        try world.run { world.target.commands(.read).count == 3 }
        world.target.vanish()
        try world.run(seconds: 1) { losses == 1 }
        #expect(recorder.completions.isEmpty)
        world.target.react = { _ in nil }
        try world.target.listen()
        try world.run { recorder.completions.count == 8 }
        #expect(recorder.completions.filter { !$0.isSuccess }.isEmpty)
        #expect(connections == 2)
        #expect(controller.association?.number == 2)
    }

    /// A first connection is worth waiting for; when one is lost, the target may be back at any moment.
    @Test func waitsLongerForTheFirstConnectionThanForTheNext() throws {
        let isConnect = { @Sendable (capsule: Capsule) in
            capsule.entry.opcode == 0x7F && capsule.entry.fabricsCommandType == 1
        }
        world.target.react = { isConnect($0) ? .ignore : nil }
        func refusal(_ change: (inout ControllerOptions) -> Void) throws -> (error: String, milliseconds: UInt64) {
            let controller = world.controller(1, change)
            let start = world.now
            guard case .failure(let error) = try world.connect(controller) else { return ("none", 0) }
            let took = world.now.nanoseconds(since: start) / 1_000_000
            try world.close(controller)
            return (error.description, took)
        }
        let plain = try refusal { _ in }
        #expect((30_000...32_000).contains(plain.milliseconds), "\(plain)")
        #expect(plain.error.contains("Connect within 30000 ms") && plain.error.contains("earlier commands"))
        let chosen = try refusal { $0.connectTimeoutMilliseconds = 400 }
        #expect((400...2000).contains(chosen.milliseconds), "\(chosen)")

        world.target.react = { _ in nil }
        let controller = world.controller()
        try world.connect(controller).get()
        world.target.react = { isConnect($0) ? .ignore : nil }
        world.target.vanish()
        try world.target.listen()
        var failures: [String] {
            world.events.value.compactMap { if case .reconnectFailed(let error, _) = $0 { "\(error)" } else { nil } }
        }
        try world.run { failures.count == 2 }
        #expect(failures.allSatisfy { $0.contains("Connect within 3000 ms") }, "\(failures)")
        world.target.react = { _ in nil }
        try world.run { connections == 2 }
        #expect(connections == 2)
        try world.close(controller)
    }

    @Test func failsFastAndRecoversLater() throws {
        let controller = world.controller {
            $0.fastIOFailMilliseconds = 2000
            $0.reconnectDelayMilliseconds = 100...500
        }
        try world.connect(controller).get()
        let recorder = Recorder()
        let queue = controller.queues[0]
        queue.sink = recorder
        let memory = try world.memory(controller, bytes: 512)
        world.target.vanish()
        try world.run(seconds: 1) { losses == 1 }
        let lost = world.now
        submit(2, queue, memory)
        try world.run { recorder.completions.count == 2 }
        let took = world.now.nanoseconds(since: lost) / 1_000_000
        #expect((1900...2200).contains(took), "\(took) ms")
        #expect(recorder.completions.map(\.outcome) == [.surelyNotDone, .surelyNotDone])
        #expect(queue.submit(IOOperation(.flush)) == .notConnected)
        #expect(count { if case .failingFast = $0 { true } else { false } } == 1)
        try world.target.listen()
        try world.run { connections == 2 }
        submit(1, queue, memory)
        try world.run { recorder.completions.count == 3 }
        #expect(recorder.completions[2].isSuccess)
    }

    @Test func givesUpAfterTheControllerLossTime() throws {
        let controller = world.controller {
            $0.controllerLossMilliseconds = 5000
            $0.reconnectDelayMilliseconds = 100...1000
        }
        try world.connect(controller).get()
        world.target.vanish()
        try world.run(seconds: 1) { losses == 1 }
        let since = world.now
        try world.run { count { if case .lost = $0 { true } else { false } } == 1 }
        let took = world.now.nanoseconds(since: since) / 1_000_000
        #expect((5000...6500).contains(took), "\(took) ms")
        try world.close(controller)
        #expect(count { if case .closed = $0 { true } else { false } } == 1)
    }

    @Test func stopsTryingWhenTheControllerSaysDoNotRetry() throws {
        let controller = world.controller()
        try world.connect(controller).get()
        world.target.vanish()
        try world.run(seconds: 1) { losses == 1 }
        world.target.react = { $0.entry.fabricsCommandType == 1 ? .answer(.connectInvalidHost.doNotRetry) : nil }
        try world.target.listen()
        try world.run(seconds: 60) { count { if case .lost = $0 { true } else { false } } == 1 }
        #expect(count { if case .lost(.connectFailed) = $0 { true } else { false } } == 1)
    }

    @Test func keepsAliveOnlyWithoutTraffic() throws {
        world.target.identify.attributes = .trafficBasedKeepAlive
        let controller = world.controller { $0.keepAliveMilliseconds = 2000 }
        try world.connect(controller).get()
        let target = world.target
        func keepAlives() -> Int { target.capsules.filter { $0.queue == 0 && $0.entry.opcode == 0x18 }.count }
        try world.run(seconds: 10)
        // At each idle half of the timeout.
        #expect((9...11).contains(keepAlives()), "\(keepAlives()) in 10 idle seconds")
        let before = keepAlives()
        let memory = try world.memory(controller, bytes: 512)
        let queue = controller.queues[0]
        for _ in 0..<20 {
            _ = try world.wait { await queue.perform(IOOperation(.read, blockCount: 1, data: memory.segment)) }
            let next = world.now.advanced(byMilliseconds: 250)
            try world.run { world.now >= next }
        }
        #expect(keepAlives() - before <= 1)
        try world.close(controller)
    }

    /// A caller that polls twice in the timeout, and no more often, is heard of by the target within each timeout.
    @Test(arguments: [false, true]) func keepsAliveWhenPolledTwiceInTheTimeout(countsTraffic: Bool) throws {
        if countsTraffic { world.target.identify.attributes = .trafficBasedKeepAlive }
        let controller = world.controller { $0.keepAliveMilliseconds = 2000 }
        try world.connect(controller).get()
        let memory = try world.memory(controller, bytes: 512)
        var heard = world.now
        for round in 0..<100 {
            world.now = world.now.advanced(byMilliseconds: 995)
            // Operations now and then, two polls apart and one behind the other.
            if round % 7 < 3 { submit(1, controller.queues[0], memory) }
            let before = world.target.capsules.count
            _ = world.group.poll(now: world.now)
            while try world.target.poll() > 0 {}
            let isHeard = world.target.capsules[before...].contains {
                countsTraffic || $0.queue == 0 && $0.entry.opcode == AdminOpcode.keepAlive.rawValue
            }
            if isHeard { heard = world.now }
            #expect(world.now.nanoseconds(since: heard) < 2_000_000_000, "round \(round)")
        }
        #expect(losses == 0)
    }

    @Test func endsTheAssociationWhenKeepAliveIsNotAnswered() throws {
        let controller = world.controller { $0.keepAliveMilliseconds = 2000 }
        try world.connect(controller).get()
        world.target.react = { $0.entry.opcode == 0x18 && $0.queue == 0 ? .ignore : nil }
        let start = world.now
        try world.run(seconds: 60) { losses == 1 }
        #expect(losses == 1)
        #expect(world.now.nanoseconds(since: start) <= 5_000_000_000)
    }

    @Test func rescansNamespacesWhenToldSo() throws {
        let controller = world.controller()
        try world.connect(controller).get()
        // The requests arrive after the connection is reported.
        try world.run(seconds: 1)
        world.target.namespaces[1]!.size = 8192
        world.target.namespaces[5] = IdentifyNamespace(blockCount: 100, blockSize: 4096)
        world.target.report(.namespaceAttributeChanged)
        try world.run(seconds: 5) { count { if case .namespacesChanged = $0 { true } else { false } } == 1 }
        #expect(controller.namespaces.map(\.nsid) == [1, 5])
        #expect(controller.namespaces[0].blockCount == 8192)
        #expect(controller.namespaces[1].blockSize == 4096)
        world.target.namespaces[1] = nil
        world.target.report(.namespaceAttributeChanged)
        try world.run(seconds: 5) { count { if case .namespacesChanged = $0 { true } else { false } } == 2 }
        #expect(controller.namespaces.map(\.nsid) == [5])
        #expect(controller.namespaces[0].index == 1)
        #expect(controller.queues[0].submit(IOOperation(.flush, namespace: 0)) == .invalid)
        world.target.report(.anaChange)
        try world.run(seconds: 5) { count { if case .anaChanged = $0 { true } else { false } } == 1 }
        #expect(count { if case .anaChanged = $0 { true } else { false } } == 1)
    }

    /// Notifications that a controller keeps, each of which a Get Log Page takes out.
    private func keepNotifications(_ kinds: [ReservationNotificationKind], claims: UInt8? = nil) -> Box<Int> {
        let left = Box(kinds)
        let reads = Box(0)
        world.target.react = { capsule in
            guard capsule.queue == 0, case .getLogPage(let page) = AdminCommand(capsule.entry),
                page.logPage == .reservationNotification
            else { return nil }
            reads.value += 1
            let kind = claims == nil && left.value.isEmpty ? nil : left.value[0]
            guard let kind else { return .data(ReservationNotificationLog().encoded) }
            if claims == nil { left.value.removeFirst() }
            return .data(
                ReservationNotificationLog(
                    count: UInt64(reads.value), kind: kind, available: claims ?? UInt8(left.value.count), nsid: 1
                ).encoded)
        }
        return reads
    }

    private var notifications: [ReservationNotificationKind] {
        world.events.value.compactMap {
            if case .reservationNotification(let notification) = $0 { notification.kind } else { nil }
        }
    }

    /// Each was read and forgotten: a deposed host with nothing to do was never told.
    @Test func tellsEachReservationNotification() throws {
        let controller = world.controller()
        try world.connect(controller).get()
        try world.run(seconds: 1)
        let kinds: [ReservationNotificationKind] = [
            .reservationReleased, .registrationPreempted, .reservationPreempted,
        ]
        let reads = keepNotifications(kinds)
        world.target.report(.reservationLogAvailable)
        try world.run(seconds: 5) { notifications.count == 3 }
        #expect(notifications == kinds)
        #expect(reads.value == 3)
    }

    @Test func anEndlessReservationLogIsLeft() throws {
        let controller = world.controller()
        try world.connect(controller).get()
        try world.run(seconds: 1)
        let reads = keepNotifications([.reservationReleased], claims: 255)
        world.target.report(.reservationLogAvailable)
        try world.run(seconds: 5) { reads.value > 256 }
        #expect(reads.value == 256)
        #expect(controller.association != nil)
    }

    @Test func sendsReservationCommandsWithTheirKeys() throws {
        let controller = world.controller()
        try world.connect(controller).get()
        let payloads = Box<[[UInt8]]>([])
        let target = world.target
        target.react = { capsule in
            guard capsule.queue > 0, capsule.entry.isReservation else { return nil }
            payloads.value.append(capsule.payload)
            return nil
        }
        try world.wait { () async -> InitiatorError? in
            do throws(InitiatorError) {
                try await controller.registerReservation(
                    nsid: 1, ReservationRegisterCommand(.register, powerLossPersistence: .persist), currentKey: 0,
                    newKey: 0x1122)
                try await controller.acquireReservation(
                    nsid: 1, ReservationAcquireCommand(.preemptAndAbort, type: .writeExclusiveRegistrantsOnly),
                    currentKey: 0x1122, preemptKey: 0x3344)
                try await controller.releaseReservation(
                    nsid: 1, ReservationReleaseCommand(.release, type: .writeExclusiveRegistrantsOnly),
                    currentKey: 0x1122)
                return nil
            } catch { return error }
        }.map { throw $0 }
        let zeroes = [UInt8](repeating: 0, count: 6)
        #expect(payloads.value[0] == [UInt8](repeating: 0, count: 8) + [0x22, 0x11] + zeroes)
        #expect(payloads.value[1] == [0x22, 0x11] + zeroes + [0x44, 0x33] + zeroes)
        #expect(payloads.value[2] == [0x22, 0x11] + zeroes)
        #expect(target.commands(.reservationAcquire)[0].cdw10 == 2 | 3 << 8)
        target.react = { $0.entry.isReservation && $0.queue > 0 ? .answer(.reservationConflict) : nil }
        let conflict = try world.wait { () async -> InitiatorError? in
            do throws(InitiatorError) {
                try await controller.releaseReservation(
                    nsid: 1, ReservationReleaseCommand(.release, type: nil), currentKey: 1)
                return nil
            } catch { return error }
        }
        guard case .status(let status, _) = conflict, status.matches(.reservationConflict) else {
            Issue.record("a conflict is an error of its own: \(String(describing: conflict))")
            return
        }
    }

    @Test func abortsTheCommandsOfAnOperation() throws {
        let controller = world.controller()
        try world.connect(controller).get()
        let isRead = isRead
        world.target.react = { capsule in
            if isRead(capsule) { return .ignore }
            guard capsule.queue == 0, case .abort(let abort) = AdminCommand(capsule.entry) else { return nil }
            return .end(queue: abort.sqID, abort.commandID, .commandAbortRequested)
        }
        let recorder = Recorder()
        let queue = controller.queues[0]
        queue.sink = recorder
        submit(2, queue, try world.memory(controller, bytes: 512))
        try world.run { world.target.commands(.read).count == 2 }
        let aborted = try world.wait { try? await controller.abort(tag: 1, on: queue) }
        #expect(aborted == 1)
        try world.run { recorder.completions.count == 1 }
        #expect(recorder.completions[0].tag == 1)
        #expect(recorder.completions[0].status.matches(.commandAbortRequested))
        #expect(queue.operationsInUse == 1)
        try world.close(controller)
        #expect(recorder.completions.map(\.failure) == [.none, .closed])
    }
}
