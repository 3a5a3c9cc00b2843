import Base
import Foundation
import TargetInterface

/// A pool's contents as its record file has them.
package struct PoolRecord: Codable {
    static let newest = 1

    struct Namespace: Codable {
        var nsid: UInt32
        var uuid: String
        var blocks: UInt64
        var blockSize: UInt32
        var stage: PoolContents.Stage
        var isAttached: Bool
    }

    var version = newest
    var namespaces: [Namespace]

    package static func encode(_ contents: PoolContents) throws -> [UInt8] {
        let record = PoolRecord(
            namespaces: contents.entries.map { entry in
                let namespace = entry.namespace
                return Namespace(
                    nsid: namespace.nsid, uuid: namespace.uuid.description, blocks: namespace.blockCount,
                    blockSize: namespace.blockSize, stage: entry.stage, isAttached: namespace.isAttached)
            })
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        return Array(try encoder.encode(record)) + [UInt8(ascii: "\n")]
    }

    /// - Parameter path: the file's, for errors.
    package static func decode(_ bytes: [UInt8], path: String) throws(TercetError) -> PoolContents {
        struct Version: Decodable { var version: Int }
        let (data, decoder) = (Data(bytes), JSONDecoder())
        guard let version = try? decoder.decode(Version.self, from: data).version else { throw damaged(path, nil) }
        guard version == newest else {
            throw TercetError(
                .unsupported,
                "\(path) is of version \(version), and this release knows version \(newest); use the release that wrote it"
            )
        }
        guard let record = try? decoder.decode(PoolRecord.self, from: data) else { throw damaged(path, nil) }
        var entries: [PoolContents.Entry] = []
        for namespace in record.namespaces {
            guard let uuid = UUIDBytes(namespace.uuid), !uuid.isZero else { throw damaged(path, nil) }
            entries.append(
                .init(
                    PoolNamespace(
                        nsid: namespace.nsid, uuid: uuid, blockCount: namespace.blocks,
                        blockSize: namespace.blockSize,
                        isAttached: namespace.isAttached),
                    namespace.stage))
        }
        do throws(TercetError) { return try PoolContents(entries) } catch { throw damaged(path, error) }
    }

    private static func damaged(_ path: String, _ cause: TercetError?) -> TercetError {
        TercetError(.damaged, "\(path) is damaged: restore it; the namespaces' files are beside it", cause: cause)
    }
}
