import Base
import FabricInterface
import NVMeSpec

/// The discovery log, and the ways on from it.
extension Controller {
    /// Reads the whole discovery log of a discovery controller; again from the beginning where it changes meanwhile
    /// (GENCTR), a few times.
    public func discoveryLog() async throws(InitiatorError) -> DiscoveryLog {
        for _ in 0..<Discovery.maxReads {
            let header = try Discovery.header(
                await logPage(.discovery, byteCount: DiscoveryLogHeader.byteCount, nsid: 0, retainsEvent: true))
            // What a liar says would be read until the end of time.
            guard header.recordCount <= UInt64(Discovery.maxEntries) else {
                throw .invalidResponse("a discovery log of \(header.recordCount) records")
            }
            let byteCount = DiscoveryLogHeader.byteCount + Int(header.recordCount) * DiscoveryLogEntry.byteCount
            let bytes = try await logPage(.discovery, byteCount: byteCount, nsid: 0, retainsEvent: true)
            // The last reading takes the event back: the controller may report the next change.
            let after = try Discovery.header(
                await logPage(.discovery, byteCount: DiscoveryLogHeader.byteCount, nsid: 0))
            guard after.generation == header.generation else { continue }
            do { return try bytes.withUnsafeBytes { try DiscoveryLog(decoding: $0) } } catch {
                throw .invalidResponse("\(error)")
            }
        }
        throw .invalidResponse("the discovery log changed with each of \(Discovery.maxReads) readings")
    }
}

/// Finding subsystems.
public enum Discovery {
    /// Entries that one discovery log may have.
    public static let maxEntries = 4096
    /// Discovery controllers that one search asks.
    static let maxReferrals = 64
    static let maxReads = 8

    /// What one discovery controller said.
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
