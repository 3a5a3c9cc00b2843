import Base
import NVMeInitiator
import NVMeSpec
import Testing

/// Operations that are answered with an error which need not last.
@Suite struct RetryTests {
    let world: DirectWorld

    init() throws { world = try DirectWorld() }

    /// The opcode of Fabrics commands, Connect among them (NVMe Base, "Fabrics Command").
    private let fabrics: UInt8 = 0x7F

    /// Answers I/O with a status a number of times, and honestly afterwards.
    private func failing(_ status: Status, times: Int) {
        var left = times
        world.target.react = { capsule in
            guard capsule.queue > 0, capsule.entry.opcode != fabrics, left > 0 else { return nil }
            left -= 1
            return .answer(status)
        }
    }

    /// Does a read and tells how it ended, how long it took in milliseconds, and how many commands it needed.
    private func read(_ controller: Controller, timeout: UInt32 = 0) throws -> (IOCompletion, UInt64, Int) {
        try world.connect(controller).get()
        let memory = try world.memory(controller, bytes: 512)
        let recorder = Recorder()
        controller.queues[0].sink = recorder
        let start = world.now
        let operation = IOOperation(
            .read, blockCount: 1, data: memory.part(0, 512), timeoutMilliseconds: timeout)
        #expect(controller.queues[0].submit(operation) == .accepted)
        try world.run { !recorder.completions.isEmpty }
        return (
            recorder.completions[0], world.now.nanoseconds(since: start) / 1_000_000, world.target.commands(.read).count
        )
    }

    @Test func waitsAsLongAsTheControllerAsks() throws {
        world.target.identify.commandRetryDelay1 = 1
        world.target.identify.commandRetryDelay2 = 7
        failing(Status.commandInterrupted.withRetryDelay(2), times: 2)
        let (completion, milliseconds, commands) = try read(world.controller())
        #expect(completion.isSuccess && commands == 3)
        #expect(milliseconds >= 1400 && milliseconds < 1500)
        // Host Behavior Support, feature 16h: byte 0, ACRE (NVMe Base, "Host Behavior Support").
        let told = world.target.capsules.filter {
            $0.queue == 0 && $0.entry.opcode == 0x09 && $0.entry.cdw10 & 0xFF == 0x16
        }
        #expect(told.count == 1)
    }

    @Test(arguments: [Status.namespaceNotReady, .commandInterrupted, Status(.path, 0x03)])
    func repeatsWhatCannotBeDoneNowUntilTheDeadline(_ status: Status) throws {
        failing(status, times: .max)
        let (completion, milliseconds, commands) = try read(world.controller(), timeout: 3000)
        #expect(completion.outcome == .surelyDone && completion.status.matches(status))
        #expect(milliseconds > 1000 && milliseconds <= 3000 && commands > 5)
    }

    @Test func repeatsAFailureOfTheDeviceAFewTimes() throws {
        failing(.unrecoveredReadError, times: .max)
        let (completion, milliseconds, commands) = try read(world.controller())
        #expect(completion.status.matches(.unrecoveredReadError) && commands == 6 && milliseconds < 500)
    }

    @Test(arguments: [
        Status.namespaceNotReady.doNotRetry, .unrecoveredReadError.doNotRetry, .lbaOutOfRange, .reservationConflict,
        .invalidField, .compareFailure,
    ])
    func repeatsNothingThatWouldFailAgain(_ status: Status) throws {
        failing(status, times: .max)
        let (completion, _, commands) = try read(world.controller())
        #expect(completion.status == status && commands == 1)
    }

    @Test func repeatsNothingForWhoHasAnotherCopy() throws {
        failing(.namespaceNotReady, times: .max)
        let (completion, _, commands) = try read(world.controller { $0.recovery = .fail })
        #expect(completion.status.matches(.namespaceNotReady) && commands == 1)
    }

    /// Submits a read that is answered with an order to come again later, and calls `body` once that answer is under way.
    private func whileAReadWaits(retryDelay: UInt16, _ body: (Controller, Recorder) throws -> Void) throws {
        world.target.identify.commandRetryDelay1 = retryDelay
        failing(Status.commandInterrupted.withRetryDelay(1), times: 1)
        let controller = world.controller()
        try world.connect(controller).get()
        let memory = try world.memory(controller, bytes: 512)
        let recorder = Recorder()
        controller.queues[0].sink = recorder
        #expect(
            controller.queues[0].submit(IOOperation(.read, blockCount: 1, data: memory.part(0, 512))) == .accepted)
        try world.run { world.target.commands(.read).count == 1 }
        try body(controller, recorder)
    }

    @Test func anOperationThatWaitsOutlivesItsConnection() throws {
        try whileAReadWaits(retryDelay: 10) { _, recorder in
            world.target.vanish()
            try world.target.listen()
            try world.run { !recorder.completions.isEmpty }
            #expect(recorder.completions[0].isSuccess)
        }
    }

    @Test func anOperationThatWaitsEndsWithItsController() throws {
        try whileAReadWaits(retryDelay: 100) { controller, recorder in
            try world.close(controller)
            #expect(recorder.completions.map(\.failure) == [.closed])
            #expect(recorder.completions.map(\.outcome) == [.unknown])
        }
    }
}
