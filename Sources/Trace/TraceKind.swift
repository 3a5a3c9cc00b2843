/// The kinds of events. Their numbers are in dumps, so a number that has been used keeps its meaning.
public enum TraceKind: UInt32, CaseIterable, Sendable {
    /// The time of the entries that follow.
    case time = 0
    // The target.
    case capsuleIn = 1
    // 2 and 3 were each request's way to the device and back, when four entries were recorded for a command.
    case answer = 4
    // Connections, on either side.
    case connectionRequested = 5
    case connectionEstablished = 6
    case connectionEnded = 7
    case connectionRefused = 8
    // Between `capsuleIn` and `answer`.
    case awaitsMemory = 9
    case awaitsDevice = 10
    case blockFailed = 11
    // The initiator.
    case commandOut = 16
    case responseIn = 17
    // A volume.
    case memberLost = 32
    case memberInSync = 33
    /// A write behind the volume's own blocks: a record, or a page of a map.
    case metadataWrite = 34
    case volumePhase = 36
    case memberReturning = 37
    case memberDemoted = 38
}

/// A part of the values `a` and `b` of an entry, as it is shown.
public struct TraceField: Sendable {
    public enum Word: Sendable { case a, b }

    public let name: String
    public let word: Word
    /// The bits of the word that hold it.
    public let bits: Range<UInt64>

    init(_ name: String, _ word: Word, _ bits: Range<UInt64>? = nil) {
        self.name = name
        self.word = word
        self.bits = bits ?? (word == .a ? 0..<32 : 0..<64)
    }

    /// Its value in an entry.
    public func value(a: UInt32, b: UInt64) -> UInt64 {
        let whole = (word == .a ? UInt64(a) : b) >> bits.lowerBound
        return bits.count == 64 ? whole : whole & ((1 << UInt64(bits.count)) - 1)
    }
}

extension TraceKind {
    /// Its name, as `tercet trace` prints it and `--kind` takes it.
    public var name: String { description.name }

    /// The values that `a` and `b` hold, in the order in which they are shown.
    public var fields: [TraceField] { description.fields }

    /// The kind with a name, or `nil`.
    public init?(name: String) {
        guard let kind = TraceKind.allCases.first(where: { $0.name == name }) else { return nil }
        self = kind
    }

    /// The first 8 bytes of a submission queue entry (NVMe Base 2.1, 4.1.1): command dword 0, and the namespace.
    private static let command = [
        TraceField("opcode", .b, 0..<8), TraceField("cid", .b, 16..<32), TraceField("nsid", .b, 32..<64),
    ]
    /// The last 8 bytes of a completion queue entry (NVMe Base 2.1, 4.2.1): the status stands above the phase bit.
    private static let completion = [TraceField("cid", .b, 32..<48), TraceField("status", .b, 49..<64)]
    private static let queue = [TraceField("queue", .a, 16..<32), TraceField("request", .a, 0..<16)]

    private var description: (name: String, fields: [TraceField]) {
        switch self {
        case .time: ("time", [TraceField("nanoseconds", .b)])
        case .capsuleIn: ("capsule-in", Self.queue + Self.command)
        case .answer: ("answer", Self.queue + Self.completion)
        case .connectionRequested: ("connection-requested", [TraceField("queue", .a), TraceField("handle", .b)])
        case .connectionEstablished: ("connection-established", [TraceField("queue", .a), TraceField("handle", .b)])
        case .connectionEnded: ("connection-ended", [TraceField("queue", .a), TraceField("reason", .b)])
        case .connectionRefused: ("connection-refused", [TraceField("queue", .a), TraceField("status", .b)])
        case .awaitsMemory: ("awaits-memory", Self.queue)
        case .awaitsDevice: ("awaits-device", Self.queue)
        case .blockFailed: ("block-failed", Self.queue + [TraceField("status", .b)])
        case .commandOut: ("command-out", Self.queue + Self.command)
        case .responseIn: ("response-in", Self.queue + Self.completion)
        case .memberLost: ("member-lost", [TraceField("member", .a), TraceField("reason", .b)])
        case .memberInSync: ("member-in-sync", [TraceField("member", .a)])
        case .metadataWrite: ("metadata-write", [TraceField("member", .a), TraceField("block", .b)])
        case .volumePhase: ("volume-phase", [TraceField("phase", .b)])
        case .memberReturning: ("member-returning", [TraceField("member", .a)])
        case .memberDemoted: ("member-demoted", [TraceField("member", .a)])
        }
    }
}
