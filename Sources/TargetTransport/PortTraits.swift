/// The sizes of a port: what was asked for, as far as its device goes.
public struct PortTraits: Sendable {
    /// Buffers for capsules, requests and connections.
    public var capsules: Int
    public var requests: Int
    public var connections: Int
    /// Bytes of a capsule: the submission queue entry and its data.
    public var capsuleBytes: Int
    /// Pieces that a host may describe its memory in.
    public var maxPieces: Int
    /// Memory that the port can fetch into and answer from; it lives as long as the port.
    public nonisolated(unsafe) var memory: UnsafeMutableRawBufferPointer
    /// Memory that capsules arrive in, with the data within them; it lives as long as the port. Empty where it is no one piece.
    public nonisolated(unsafe) var capsuleMemory: UnsafeMutableRawBufferPointer

    public init(
        capsules: Int, requests: Int, connections: Int, capsuleBytes: Int, maxPieces: Int,
        memory: UnsafeMutableRawBufferPointer,
        capsuleMemory: UnsafeMutableRawBufferPointer = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    ) {
        self.capsules = capsules
        self.requests = requests
        self.connections = connections
        self.capsuleBytes = capsuleBytes
        self.maxPieces = maxPieces
        self.memory = memory
        self.capsuleMemory = capsuleMemory
    }
}

/// Counts of what a port has taken and what is free; for tests and simulations, which show that everything comes back.
public struct PortUse: Hashable, Sendable {
    public var freeConnections = 0
    public var boundConnections = 0
    /// Capsules that came before their connection was open.
    public var earlyCapsules = 0
    /// Fetches and answers that wait for room.
    public var waitingFetches = 0
    public var waitingAnswers = 0
    /// Fetches that are under way, and answers that are on their way.
    public var runningFetches = 0
    public var runningAnswers = 0

    public init() {}
}
