import ControlPlane
import ControllerCalls

/// A volume's name: its name in tercet-volumed, and the `volume_id` of CSI.
public struct VolumeID: Equatable, Sendable, CustomStringConvertible {
    public let name: String

    /// Throws where a file or an export could not be called so.
    public init(_ name: String) throws(NodeError) {
        guard !name.isEmpty else { throw NodeError(.invalidArgument, "the volume's name is empty") }
        guard FileNames.allow(name) else {
            throw NodeError(
                .invalidArgument,
                "\"\(name.prefix(140))\" is no volume's name; allowed: up to 128 letters, digits, '.', '_' and '-', not beginning with '.'"
            )
        }
        self.name = name
    }

    public var description: String { name }
}

/// A file system that volumes are formatted with.
public enum FileSystemType: String, CaseIterable, Codable, Sendable {
    case ext4
    case xfs
}

/// How a volume is used.
public enum VolumeCapability: Equatable, Codable, Sendable {
    /// As a block device.
    case block
    /// By a file system on it, with options of mount(8).
    case fileSystem(FileSystemType, options: [String] = [])

    var text: String {
        switch self {
        case .block: "a block device"
        case .fileSystem(let type, let options):
            // Options may be secret (CSI 1.12, "MountVolume").
            type.rawValue + (options.isEmpty ? "" : " with mount options")
        }
    }
}

/// The parameters of a stage.
public struct StageRequest: Sendable {
    public var volume: VolumeID
    /// The folder at which the file system is mounted for all pods of this node; for a block volume only its state lies there. Its parent
    /// exists.
    public var stagingPath: String
    public var capability: VolumeCapability
    /// `ADDRESS:PORT/SUBNQN/NSID`, three; empty where tercet-volumed has the volume already.
    public var members: [String]
    /// A host that has it attached is fenced.
    public var takesOver: Bool
    /// A format that another call began, and did not live to end, is begun anew.
    public var continuesFormat: Bool
    /// Limits that the volume's users have from then on; those that are not given stay.
    public var limits: LimitParameters

    public init(
        volume: VolumeID, stagingPath: String, capability: VolumeCapability, members: [String] = [],
        takesOver: Bool = false, continuesFormat: Bool = false, limits: LimitParameters = LimitParameters()
    ) {
        self.volume = volume
        self.stagingPath = stagingPath
        self.capability = capability
        self.members = members
        self.takesOver = takesOver
        self.continuesFormat = continuesFormat
        self.limits = limits
    }
}

/// The parameters of a publish.
public struct PublishRequest: Sendable {
    public var volume: VolumeID
    public var stagingPath: String
    /// The place at which the pod finds the volume: a folder, or a file for a block device. Its parent exists.
    public var targetPath: String
    public var isReadOnly: Bool
    /// No other pod has the volume, nor gets it by this call.
    public var isExclusive: Bool
    /// The number of the group that all files are of afterwards, and may write them; `nil` for none. A mount that is read-only changes
    /// nothing of that.
    public var group: UInt32?
    /// The use that is expected, which has to be that of the stage; `nil` for that, whichever it is.
    public var capability: VolumeCapability?

    public init(
        volume: VolumeID, stagingPath: String, targetPath: String, isReadOnly: Bool = false, isExclusive: Bool = false,
        group: UInt32? = nil, capability: VolumeCapability? = nil
    ) {
        self.volume = volume
        self.stagingPath = stagingPath
        self.targetPath = targetPath
        self.isReadOnly = isReadOnly
        self.isExclusive = isExclusive
        self.group = group
        self.capability = capability
    }
}
