import Base
import ControllerCalls
import DurableFiles
import Foundation

/// The state of a staged volume, beside its staging path: written before the step that it describes, so that the next call knows what
/// there may be, whoever died.
struct StageRecord: Codable, Equatable, Sendable {
    private static let newest = 1

    private var version = newest
    var volume: String
    var stagingPath: String
    var capability: VolumeCapability
    /// The volume's UUID; empty before it is attached.
    var uuid = ""
    /// The agent has attached it, and detaches it with the stage.
    var isAttachedByStage = false
    /// The kind of device that is made, or is there; `nil` before.
    var device: HostDeviceKind?
    /// The device as it was last seen, and the start of the system for which that counts.
    private var number: DeviceNumber?
    private var boot = ""
    /// A target path whose mount may still be writable, and is to be read-only.
    var halfPublished: String?
    /// The volume was blank when this stage began to format it.
    var isFormatting = false
    /// The stage has been done.
    var isComplete = false

    init(volume: String, stagingPath: String, capability: VolumeCapability) {
        self.volume = volume
        self.stagingPath = stagingPath
        self.capability = capability
    }

    /// The device as it was last seen; `nil` where that was before the system was started anew, which may have given its number to
    /// another one.
    var lastNumber: DeviceNumber? { boot == Self.thisBoot ? number : nil }

    /// Notes the device.
    mutating func see(_ device: HostDevice) {
        self.device = device.kind
        number = device.number
        boot = Self.thisBoot
    }

    private static var thisBoot: String {
        let bytes = (try? FileContents.read("/proc/sys/kernel/random/boot_id")) ?? nil
        return bytes.map { String(decoding: $0, as: UTF8.self) } ?? "unknown"
    }

    /// The file that describes a staging path.
    static func path(of stagingPath: String) -> String {
        "\(HostPath.parent(of: stagingPath))/.\(HostPath.name(of: stagingPath)).tercet.json"
    }

    /// The record of a staging path; `nil` where nothing was staged there.
    static func read(_ stagingPath: String) throws(NodeError) -> StageRecord? {
        let path = path(of: stagingPath)
        let bytes: [UInt8]?
        do throws(TercetError) { bytes = try FileContents.read(path) } catch { throw NodeError(error) }
        guard let bytes else { return nil }
        struct Version: Decodable { var version: Int }
        let data = Data(bytes)
        guard let version = try? JSONDecoder().decode(Version.self, from: data).version else {
            throw NodeError(
                .internal,
                "\(path) is damaged: look with \"findmnt\" and \"tercet volume list\" what is staged, end that by hand, and remove the file"
            )
        }
        guard version == newest else {
            throw NodeError(
                .failedPrecondition,
                "\(path) is of version \(version), and this agent knows version \(newest): use the agent that wrote it")
        }
        guard let record = try? JSONDecoder().decode(StageRecord.self, from: data), record.stagingPath == stagingPath
        else { throw NodeError(.internal, "\(path) is damaged, or another path's: it says nothing of \(stagingPath)") }
        return record
    }

    func save() throws(NodeError) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(self) else { throw NodeError(.internal, "the stage's state has no form") }
        try Self.replace(stagingPath, with: Array(data))
    }

    /// Removes the record of a staging path, and what a death has left of one.
    static func remove(_ stagingPath: String) throws(NodeError) { try replace(stagingPath, with: nil) }

    private static func replace(_ stagingPath: String, with bytes: [UInt8]?) throws(NodeError) {
        let problem = DurableFile.replace(path(of: stagingPath), in: HostPath.parent(of: stagingPath), with: bytes)
        if let problem { throw NodeError(.internal, "the stage's state is not stored: \(problem)") }
    }
}
