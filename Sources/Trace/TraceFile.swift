/// A dump, read back.
public struct TraceFile: Sendable {
    /// One ring of the process that wrote it.
    public struct Ring: Sendable {
        public var name: String
        /// Oldest first.
        public var events: [TraceEvent]
    }

    /// The process that wrote it.
    public var process: UInt32
    /// When it was written, in nanoseconds since 1970.
    public var wallNanoseconds: UInt64
    /// The same moment as the events' times tell it, in nanoseconds.
    public var monotonicNanoseconds: UInt64
    public var rings: [Ring]
    /// The file ends within a ring: the disk was full, or the process was killed meanwhile. Rings before that one are whole.
    public var isCutOff: Bool

    /// Reads a dump.
    ///
    /// - Throws: if the bytes are not one.
    public init(_ bytes: [UInt8]) throws(TraceFileError) {
        let headerBytes = MemoryLayout<TraceFileHeader>.size
        let header = bytes.withUnsafeBytes { bytes -> TraceFileHeader? in
            bytes.count < headerBytes ? nil : bytes.loadUnaligned(as: TraceFileHeader.self)
        }
        guard let header, header.magic == TraceFileHeader.signature else { throw .noDump }
        guard header.version == TraceFileHeader.currentVersion else { throw .unknownVersion(header.version) }
        process = header.process
        wallNanoseconds = header.wallNanoseconds
        monotonicNanoseconds = header.monotonicNanoseconds
        (rings, isCutOff) = bytes.withUnsafeBytes { Self.rings($0, from: headerBytes) }
    }

    /// When an event happened, in nanoseconds since 1970.
    public func wallNanoseconds(of monotonic: UInt64) -> UInt64 { wallNanoseconds &+ monotonic &- monotonicNanoseconds }

    private static func rings(_ bytes: UnsafeRawBufferPointer, from start: Int) -> ([Ring], isCutOff: Bool) {
        var rings: [Ring] = []
        var offset = start
        let stride = MemoryLayout<TraceEntry>.stride
        while offset < bytes.count {
            let entries = offset + TraceRegistry.nameBytes + 16
            guard entries <= bytes.count else { return (rings, true) }
            let capacity = bytes.loadUnaligned(fromByteOffset: entries - 16, as: UInt64.self)
            let before = bytes.loadUnaligned(fromByteOffset: entries - 8, as: UInt64.self)
            guard capacity > 0, capacity <= UInt64((bytes.count - entries) / stride) else { return (rings, true) }
            let end = entries + Int(capacity) * stride
            guard end + 8 <= bytes.count else { return (rings, true) }
            let after = bytes.loadUnaligned(fromByteOffset: end, as: UInt64.self)
            let name = bytes[offset..<offset + TraceRegistry.nameBytes].prefix { $0 != 0 }
            rings.append(
                Ring(
                    name: String(decoding: name, as: UTF8.self),
                    events: TraceEvent.decode(
                        UnsafeRawBufferPointer(rebasing: bytes[entries..<end]), before: before, after: after)))
            offset = end + 8
        }
        return (rings, false)
    }
}

/// Why bytes are no dump.
public enum TraceFileError: Error, Equatable, CustomStringConvertible {
    case noDump
    case unknownVersion(UInt32)

    public var description: String {
        switch self {
        case .noDump: "this is no trace: tercetd writes one when it gets SIGUSR1, and when it traps"
        case .unknownVersion(let version):
            "this trace has version \(version), and this program reads version \(TraceFileHeader.currentVersion)"
        }
    }
}
