import Base

/// A region on its way from one member to others.
struct CopyState: BitwiseCopyable {
    let operation: OperationIndex
    let region: RegionIndex
    var source: MemberIndex = 0
    var destinations: MemberSet = []
    /// Members that could not be read from.
    var unreadable: MemberSet = []
    /// The region's contents may differ between members in sync.
    var reconciles = false
    /// A destination was busy: the region is copied again.
    var isIncomplete = false
    var isReading = false
    var cursor: UInt64 = 0
    var chunk: UInt64 = 0
}

/// The copies that run, each in a place of its own.
struct CopyTable: ~Copyable {
    private let states: UnsafeMutablePointer<CopyState?>
    /// Copies that may run at once.
    let count: Int
    private(set) var running = 0

    init(count: Int) {
        self.count = count
        states = .allocate(capacity: max(1, count))
        states.initialize(repeating: nil, count: max(1, count))
    }

    deinit { states.deallocate() }

    /// A copy that runs.
    subscript(place: Int) -> CopyState {
        get {
            guard let state = states[place] else { invariantViolated("a copy that is looked at runs") }
            return state
        }
        nonmutating set { states[place] = newValue }
    }

    mutating func start(_ state: CopyState) -> Int {
        for place in 0..<count where states[place] == nil {
            states[place] = state
            running += 1
            return place
        }
        invariantViolated("a copy is started when one is free")
    }

    mutating func end(_ place: Int) {
        states[place] = nil
        running -= 1
    }

    /// The place of an operation's copy.
    func place(of operation: OperationIndex) -> Int {
        for place in 0..<count where states[place]?.operation == operation { return place }
        invariantViolated("a copy's operation is in the table")
    }

    func isCopying(_ region: RegionIndex) -> Bool {
        for place in 0..<count where states[place]?.region == region { return true }
        return false
    }

    func isCopying(to member: MemberIndex) -> Bool {
        for place in 0..<count where states[place]?.destinations.contains(member) ?? false { return true }
        return false
    }

    /// A region that was on its way to a lost member is not on it, even where its part has ended there: what is written
    /// once the region is free again does not reach the member.
    mutating func forget(_ member: MemberIndex) {
        for place in 0..<count {
            guard var state = states[place] else { continue }
            if state.destinations.contains(member) { state.isIncomplete = true }
            state.destinations.remove(member)
            if state.source == member {
                state.destinations = []
                state.isIncomplete = true
            }
            states[place] = state
        }
    }

    /// Whether members in sync are being made equal in one of `regions`. That goes on for a moment where the source is lost,
    /// and one member alone counts from then on: what is on its way to that member must not be overtaken by a read.
    @inline(__always)
    func isReconciling(_ regions: ClosedRange<RegionIndex>) -> Bool { running > 0 && isReconcilingAny(of: regions) }

    private func isReconcilingAny(of regions: ClosedRange<RegionIndex>) -> Bool {
        for place in 0..<count {
            if let state = states[place], state.reconciles, regions.contains(state.region) { return true }
        }
        return false
    }
}
