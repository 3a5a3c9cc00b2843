/// The work of a queue of a host at a moment: done, and still to be done.
public struct QueueLoad: Sendable, Equatable {
    public var subsystem: String
    /// The host's NQN.
    public var host: String
    /// The controller that the queue belongs to.
    public var controllerID: UInt16
    /// 0 for the admin queue.
    public var queueID: UInt16
    /// The reactor that serves it, in the order in which they joined the target.
    public var reactor: Int
    /// Entries of its submission queue.
    public var entries: UInt32
    /// Commands that have arrived and are not answered.
    public var underWay: UInt32
    /// Commands answered since the host connected.
    public var answered: UInt64
}

extension Target {
    /// How long reactors have for an answer, in milliseconds: one that makes no progress is not waited for.
    private static let patienceMilliseconds = 1000

    /// The queues of all hosts, by subsystem, controller and queue; without those of a reactor that does not answer in time.
    public func queueLoads() async -> [QueueLoad] {
        let groups = groups
        guard !groups.isEmpty else { return [] }
        let (answers, answer) = AsyncStream<[QueueLoad]>.makeStream()
        for group in groups { group.tellQueueLoads { answer.yield($0) } }
        let timer = Task {
            try await Task.sleep(for: .milliseconds(Self.patienceMilliseconds))
            answer.finish()
        }
        var loads: [QueueLoad] = []
        var missing = groups.count
        for await part in answers {
            loads += part
            missing -= 1
            if missing == 0 { break }
        }
        timer.cancel()
        return loads.sorted {
            ($0.subsystem, $0.controllerID, $0.queueID) < ($1.subsystem, $1.controllerID, $1.queueID)
        }
    }
}
