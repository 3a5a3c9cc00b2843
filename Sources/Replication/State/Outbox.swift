/// Everything that the engine has for its driver: commands for members, ended I/Os, what is asked beside them, and what was counted.
struct Outbox: ~Copyable {
    private var requestQueue: OutputQueue<MemberRequest>
    private var completionQueue: OutputQueue<HostCompletion>
    private var actions: [VolumeAction] = []
    var statistics = VolumeStatistics()

    init(requests: Int, completions: Int) {
        requestQueue = OutputQueue(capacity: requests)
        completionQueue = OutputQueue(capacity: completions)
    }

    @inline(__always)
    mutating func send(_ request: MemberRequest) { requestQueue.append(request) }
    mutating func complete(_ completion: HostCompletion) { completionQueue.append(completion) }
    mutating func ask(_ action: VolumeAction) { actions.append(action) }
    mutating func notice(_ notice: VolumeNotice) { actions.append(.notice(notice)) }

    var requests: UnsafeBufferPointer<MemberRequest> {
        UnsafeBufferPointer(start: requestQueue.values, count: requestQueue.count)
    }
    mutating func removeRequests() { requestQueue.removeAll() }

    var completions: UnsafeBufferPointer<HostCompletion> {
        UnsafeBufferPointer(start: completionQueue.values, count: completionQueue.count)
    }
    mutating func removeCompletions() { completionQueue.removeAll() }

    mutating func takeActions() -> [VolumeAction] {
        if actions.isEmpty { return [] }
        let taken = actions
        actions = []
        return taken
    }
}
