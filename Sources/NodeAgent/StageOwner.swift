import Base
import ControllerCalls
import DurableFiles

/// The one path at which a volume is staged on this host, in the agent's folder: a volume has one device, and one stage owns it.
struct StageOwner {
    private let folder: String
    private let file: String

    init(_ volume: VolumeID, in runFolder: String) {
        folder = "\(runFolder)/stages"
        file = "\(folder)/\(volume)"
    }

    /// The staging path; `nil` where the volume is not staged.
    func stagingPath() throws(NodeError) -> String? {
        do throws(TercetError) {
            return try FileContents.read(file).map { String(decoding: $0, as: UTF8.self) }
        } catch { throw NodeError(error) }
    }

    /// Notes that the volume is staged at a path, or no longer.
    func set(_ stagingPath: String?) throws(NodeError) {
        if let problem = DurableFile.replace(file, in: folder, with: stagingPath.map { Array($0.utf8) }) {
            throw NodeError(.internal, "the place of the stage is not stored: \(problem)")
        }
    }
}
