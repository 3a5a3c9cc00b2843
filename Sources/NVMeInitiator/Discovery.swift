import Base
import InitiatorTransport
import NVMeSpec

/// The discovery log, and the ways on from it.
extension Controller {
    /// Reads the whole discovery log of a discovery controller; again from the beginning where it changes meanwhile
    /// (GENCTR), a few times.
    public func discoveryLog() async throws(InitiatorError) -> DiscoveryLog {
        for _ in 0..<Discovery.maxReads {
            let header = try Discovery.header(
                await logPage(.discovery, byteCount: DiscoveryLogHeader.byteCount, nsid: 0, retainsEvent: true))
            // NUMREC has 64 bits: a liar would have us read until the end of time.
            guard header.recordCount <= UInt64(Discovery.maxEntries) else {
                throw .resources(
                    "a discovery log of \(header.recordCount) records, of which at most \(Discovery.maxEntries) are read"
                )
            }
            let entries = try await discoveryEntries(Int(header.recordCount))
            // The last reading takes the event back: the controller may report the next change.
            let after = try Discovery.header(
                await logPage(.discovery, byteCount: DiscoveryLogHeader.byteCount, nsid: 0))
            guard after.generation == header.generation else { continue }
            return DiscoveryLog(generation: header.generation, entries: entries)
        }
        throw .invalidResponse("the discovery log changed with each of \(Discovery.maxReads) readings")
    }

    /// The records of a discovery log that is said to have `count`. Memory is taken for what has arrived alone, and what is
    /// no record ends the reading where it is.
    private func discoveryEntries(_ count: Int) async throws(InitiatorError) -> [DiscoveryLogEntry] {
        var entries: [DiscoveryLogEntry] = []
        let piece = ControlBuffer.byteCount / DiscoveryLogEntry.byteCount
        while entries.count < count {
            let records = min(piece, count - entries.count)
            let offset = DiscoveryLogHeader.byteCount + entries.count * DiscoveryLogEntry.byteCount
            let bytes = try await logPage(
                .discovery, byteCount: records * DiscoveryLogEntry.byteCount, offset: UInt64(offset), nsid: 0,
                retainsEvent: true)
            for record in 0..<records {
                do {
                    entries.append(
                        try bytes.withUnsafeBytes {
                            let start = record * DiscoveryLogEntry.byteCount
                            return try DiscoveryLogEntry(decoding: UnsafeRawBufferPointer(rebasing: $0[start...]))
                        })
                } catch { throw .invalidResponse("record \(entries.count) of the discovery log: \(error)") }
            }
        }
        return entries
    }
}

/// Finding subsystems.
public enum Discovery {
    /// Entries that are read of one discovery log, so that no target can fill this host's memory: a GiB of them.
    public static let maxEntries = 1 << 20
    /// Discovery controllers that one search asks.
    static let maxReferrals = 64
    static let maxReads = 8

    /// The answer of one discovery controller.
    public struct Answer: Sendable {
        public var address: SocketAddress
        public var subsystemNQN: String
        public var result: Result<DiscoveryLog, InitiatorError>
    }

    static func header(_ bytes: [UInt8]) throws(InitiatorError) -> DiscoveryLogHeader {
        do { return try DiscoveryLogHeader(decoding: bytes) } catch { throw .invalidResponse("\(error)") }
    }

    /// Asks a discovery controller and, one after the other, all that it refers to. Each is asked once.
    ///
    /// - Parameter options: of the first one; its address is replaced for the others.
    public static func search(_ options: ControllerOptions, group: InitiatorGroup) async -> [Answer] {
        var answers: [Answer] = []
        var waiting = [(options.address, options.subsystemNQN)]
        var seen = Set([options.address])
        while !waiting.isEmpty, answers.count < maxReferrals {
            let (address, nqn) = waiting.removeFirst()
            var next = options
            next.address = address
            next.subsystemNQN = nqn
            let result = await ask(next, group: group)
            answers.append(Answer(address: address, subsystemNQN: nqn, result: result))
            guard case .success(let log) = result else { continue }
            for entry in log.entries where entry.subsystemType == .referral && entry.transport == .rdma {
                guard let port = UInt16(entry.serviceID),
                    let referred = SocketAddress(host: entry.address, port: port), seen.insert(referred).inserted
                else { continue }
                waiting.append((referred, entry.subsystemNQN.isEmpty ? NQN.discovery : entry.subsystemNQN))
            }
        }
        return answers
    }

    private static func ask(
        _ options: ControllerOptions, group: InitiatorGroup
    ) async -> Result<DiscoveryLog, InitiatorError> {
        let controller = Controller(options, home: group, groups: [])
        do throws(InitiatorError) {
            try await controller.connect()
            let log = try await controller.discoveryLog()
            await controller.close()
            return .success(log)
        } catch {
            await controller.close()
            return .failure(error)
        }
    }
}
