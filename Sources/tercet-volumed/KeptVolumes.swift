import Base
import ControlPlane
import DurableFiles
import Foundation
import Glibc
import VolumeDriver
import VolumedConfiguration

/// All that was attached and exported by control, for the daemon after this one, which goes on with all of it. It is in a file beside the
/// control socket, whose folder is gone when the machine is started anew: nobody uses any of it then.
///
/// A change is durable before the method that makes it is answered.
struct KeptVolumes {
    /// A volume that was attached by control.
    struct Volume: Codable, Equatable, Sendable {
        var name: String
        /// `ADDRESS:PORT/SUBNQN/NSID`, three.
        var members: [String]
        var uuid: String
        var trail: AttachmentTrail
        /// Those that were set by control.
        var limits: LimitsRequest?

        /// The volume that the next daemon attaches: this one and no other, and without fencing anybody.
        func entry() throws(TercetError) -> VolumedConfiguration.VolumeEntry {
            guard let uuid = UUIDBytes(uuid) else { throw TercetError(.damaged, "\"\(uuid)\" is no UUID") }
            var entry = try VolumedConfiguration.VolumeEntry(name: name, memberTexts: members, takesOver: false)
            entry.expected = ExpectedVolume(name: name, volume: uuid, byteCount: nil)
            entry.exports = []
            if let ios = limits?.iosPerSecond { entry.limits.iosPerSecond = ios }
            if let bytes = limits?.bytesPerSecond { entry.limits.bytesPerSecond = bytes }
            if let weight = limits?.weight { entry.limits.weight = weight }
            return entry
        }
    }

    /// An export of a volume, by control or as a volume that was attached by control has it.
    struct Export: Codable, Hashable, Sendable {
        var volume: String
        var name: String
        var kind: String

        init(_ volume: String, as name: String, _ kind: VolumedConfiguration.ExportKind) {
            self.volume = volume
            self.name = name
            self.kind = kind.rawValue
        }

        var exportKind: VolumedConfiguration.ExportKind? { VolumedConfiguration.ExportKind(rawValue: kind) }
    }

    private struct Contents: Codable, Equatable {
        var version = KeptVolumes.version
        var volumes: [Volume] = []
        var exports: [Export] = []
    }

    private static let version = 1
    private static let longest = 16 << 20

    /// `nil` for a daemon without a control socket, by which nothing can be attached.
    private let path: String?
    private var contents = Contents()

    /// Nothing, which is not written down.
    init() { path = nil }

    /// All that a daemon has left beside its control socket. Throws where somebody else could have written it, or nobody can read it.
    init(besideSocket control: String) throws(TercetError) {
        let path = "\(control).volumes.json"
        self.path = path
        guard let bytes = try Self.read(path) else { return }
        struct Version: Decodable { var version: Int }
        let data = Data(bytes)
        guard let version = try? JSONDecoder().decode(Version.self, from: data).version else { throw Self.damage(path) }
        guard version == Self.version else {
            throw TercetError(
                .unsupported,
                "\(path) is of version \(version), and this daemon knows version \(Self.version): start the one that wrote it, or detach "
                    + "its volumes")
        }
        guard let contents = try? JSONDecoder().decode(Contents.self, from: data) else { throw Self.damage(path) }
        for volume in contents.volumes {
            do throws(TercetError) { _ = try volume.entry() } catch {
                throw TercetError(.damaged, "\(path), volume \(volume.name): \(error); \(Self.remedy)")
            }
        }
        self.contents = contents
    }

    private static let remedy = "remove the file, and attach anew what is missing"

    private static func damage(_ path: String) -> TercetError { TercetError(.damaged, "\(path) is damaged: \(remedy)") }

    private static func read(_ path: String) throws(TercetError) -> [UInt8]? {
        var state = stat()
        guard lstat(path, &state) == 0 else {
            if errno == ENOENT { return nil }
            throw DurableFile.failure("lstat", path)
        }
        guard state.st_mode & S_IFMT == S_IFREG, state.st_uid == geteuid(), state.st_mode & 0o077 == 0,
            state.st_size <= longest
        else {
            throw TercetError(
                .notPermitted,
                "\(path): not a file of this daemon's user alone (user \(state.st_uid), mode \(String(state.st_mode & 0o7777, radix: 8))), so "
                    + "that others may have written what is to be attached: look at it; then \(remedy)")
        }
        return try FileContents.read(path)
    }

    // MARK: Looking

    var volumes: [Volume] { contents.volumes }

    func volume(_ name: String) -> Volume? { contents.volumes.first { $0.name == name } }

    func exports(of volume: String) -> [Export] { contents.exports.filter { $0.volume == volume } }

    /// The names under which volumes are block devices of this machine.
    var blockDevices: Set<String> {
        Set(contents.exports.filter { $0.exportKind?.isBlockDevice ?? false }.map(\.name))
    }

    // MARK: Changing

    /// Throws where the change cannot be made durable; then everything is as before.
    private mutating func change(_ body: (inout Contents) -> Void) throws(TercetError) {
        var next = contents
        body(&next)
        guard next != contents else { return }
        if let path {
            let isEmpty = next.volumes.isEmpty && next.exports.isEmpty
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
            let bytes = isEmpty ? nil : (try? encoder.encode(next)).map { Array($0) }
            let folder = (path as NSString).deletingLastPathComponent
            if let problem = DurableFile.replace(path, in: folder.isEmpty ? "." : folder, with: bytes) {
                throw TercetError(.failed, "what the next daemon has to know cannot be kept: \(problem)")
            }
        }
        contents = next
    }

    /// Keeps a volume that was attached by control, with the export that it has.
    mutating func keep(_ volume: Volume) throws(TercetError) {
        try change { contents in
            contents.volumes.removeAll { $0.name == volume.name }
            contents.volumes.append(volume)
            contents.exports.removeAll { $0.volume == volume.name }
            contents.exports.append(Export(volume.name, as: volume.name, .nbd))
        }
    }

    mutating func keep(_ export: Export) throws(TercetError) {
        try change { contents in
            if !contents.exports.contains(export) { contents.exports.append(export) }
        }
    }

    mutating func forget(_ export: Export) throws(TercetError) {
        try change { $0.exports.removeAll { $0 == export } }
    }

    /// Forgets a volume, and its exports.
    mutating func forget(_ volume: String) throws(TercetError) {
        try change { contents in
            contents.volumes.removeAll { $0.name == volume }
            contents.exports.removeAll { $0.volume == volume }
        }
    }

    /// Changes what is kept of a volume; nothing where it is not.
    mutating func update(_ name: String, _ body: (inout Volume) -> Void) throws(TercetError) {
        try change { contents in
            guard let place = contents.volumes.firstIndex(where: { $0.name == name }) else { return }
            body(&contents.volumes[place])
        }
    }

    /// Takes over what is written down elsewhere.
    mutating func takeOver(_ former: inout KeptVolumes) throws(TercetError) {
        let all = former.contents
        try change { $0 = all }
        try former.change { $0 = Contents() }
    }
}
