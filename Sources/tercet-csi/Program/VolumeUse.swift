import CSIInterface
import ControllerCalls
import NodeAgent

/// How an orchestrator wants a volume to be used (CSI 1.12, `VolumeCapability`).
struct VolumeUse {
    var capability: VolumeCapability
    /// By its access mode, nobody writes.
    var isReadOnly: Bool
    /// By its access mode, one pod has it alone.
    var isExclusive: Bool
    /// The number of the group that the files are to be of; `nil` for none.
    var group: UInt32?

    /// Bytes of all options of a mount (CSI 1.12, "Size Limits").
    private static let longestOptions = 4096

    /// Throws `invalidArgument` where something is missing or not known, `failedPrecondition` where no volume can be used so.
    init(_ given: Csi_V1_VolumeCapability?) throws(NodeError) {
        guard let given, given.hasAccessMode else {
            throw NodeError(.invalidArgument, "the volume's capability is missing, or has no access mode")
        }
        switch given.accessType {
        case .block: capability = .block
        case .mount(let mount): capability = try Self.fileSystem(mount)
        case nil:
            throw NodeError(.invalidArgument, "the volume's capability has no access type; allowed: block or mount")
        }
        if case .mount(let mount) = given.accessType, !mount.volumeMountGroup.isEmpty {
            // The last number stands for no group (chown(2)).
            guard let number = UInt32(mount.volumeMountGroup), number < .max else {
                throw NodeError(
                    .invalidArgument,
                    "the mount's group \"\(mount.volumeMountGroup.prefix(40))\" is no number; allowed: 0 to \(UInt32.max - 1)"
                )
            }
            group = number
        }
        isExclusive = false
        isReadOnly = false
        switch given.accessMode.mode {
        case .singleNodeWriter, .singleNodeMultiWriter: break
        case .singleNodeSingleWriter: isExclusive = true
        case .singleNodeReaderOnly: isReadOnly = true
        case .multiNodeReaderOnly, .multiNodeSingleWriter, .multiNodeMultiWriter:
            throw NodeError(
                .failedPrecondition,
                "a volume is one node's: no access mode of several nodes is possible; choose ReadWriteOnce or ReadWriteOncePod"
            )
        case .unknown, .UNRECOGNIZED:
            throw NodeError(.invalidArgument, "the access mode \(given.accessMode.mode.rawValue) is not known")
        }
    }

    private static func fileSystem(_ mount: Csi_V1_VolumeCapability.MountVolume) throws(NodeError) -> VolumeCapability {
        let name = mount.fsType.isEmpty ? FileSystemType.ext4.rawValue : mount.fsType
        guard let type = FileSystemType(rawValue: name) else {
            throw NodeError(
                .invalidArgument,
                "the file system \"\(name.prefix(40))\" is not known; allowed: "
                    + FileSystemType.allCases.map(\.rawValue).joined(separator: " or "))
        }
        let options = mount.mountFlags
        guard options.allSatisfy({ !$0.isEmpty && !$0.utf8.contains(0) }),
            options.reduce(0, { $0 + $1.utf8.count }) <= longestOptions
        else {
            throw NodeError(
                .invalidArgument, "a mount option is empty, or they have more than \(longestOptions) bytes together")
        }
        return .fileSystem(type, options: options)
    }
}

extension StageRequest {
    /// Keys of a volume's context that are this driver's. Orchestrators add others, which have a domain.
    private static let keys = Set(["members", "takeOver"] + LimitParameters.names)

    /// A controller's word, which is newer, goes before the volume's own.
    init(_ request: Csi_V1_NodeStageVolumeRequest) throws(NodeError) {
        let context = request.volumeContext.merging(request.publishContext) { _, published in published }
        if let key = context.keys.sorted().first(where: { !Self.keys.contains($0) && !$0.contains("/") }) {
            throw NodeError(
                .invalidArgument,
                "the key \"\(key.prefix(140))\" of the volume's context is not known; allowed: "
                    + Self.keys.sorted().joined(separator: ", "))
        }
        guard let takesOver = Bool(context["takeOver"] ?? "false") else {
            throw NodeError(.invalidArgument, "\"takeOver\" of the volume's context; allowed: true or false")
        }
        self.init(
            volume: try VolumeID(request.volumeID), stagingPath: request.stagingTargetPath,
            capability: try VolumeUse(request.hasVolumeCapability ? request.volumeCapability : nil).capability,
            members: (context["members"] ?? "").split { $0 == "," || $0 == " " }.map(String.init), takesOver: takesOver,
            limits: try Self.limits(context))
    }
}

extension StageRequest {
    private static func limits(_ context: [String: String]) throws(NodeError) -> LimitParameters {
        do throws(ControllerAnswer.Failure) {
            return try LimitParameters(context.filter { LimitParameters.names.contains($0.key) })
        } catch { throw NodeError(error.code, error.message) }
    }
}

extension PublishRequest {
    init(_ request: Csi_V1_NodePublishVolumeRequest) throws(NodeError) {
        let volume = try VolumeID(request.volumeID)
        let use = try VolumeUse(request.hasVolumeCapability ? request.volumeCapability : nil)
        self.init(
            volume: volume, stagingPath: request.stagingTargetPath, targetPath: request.targetPath,
            isReadOnly: request.readonly || use.isReadOnly, isExclusive: use.isExclusive, group: use.group,
            capability: use.capability)
    }
}

extension Csi_V1_CapacityRange {
    /// The least and the greatest number of bytes; 0 says nothing of either.
    func limits() throws(NodeError) -> (required: UInt64, limit: UInt64) {
        guard requiredBytes >= 0, limitBytes >= 0, limitBytes == 0 || limitBytes >= requiredBytes else {
            throw NodeError(
                .invalidArgument, "no volume has at least \(requiredBytes) and at most \(limitBytes) bytes")
        }
        return (UInt64(requiredBytes), limitBytes == 0 ? .max : UInt64(limitBytes))
    }
}

extension Csi_V1_NodeGetVolumeStatsResponse {
    init(_ statistics: NodeStatistics) {
        self.init()
        usage = [Csi_V1_VolumeUsage(statistics.bytes, .bytes)]
        if let inodes = statistics.inodes { usage.append(Csi_V1_VolumeUsage(inodes, .inodes)) }
        volumeCondition.abnormal = statistics.isAbnormal
        volumeCondition.message = statistics.condition
    }
}

extension Csi_V1_VolumeUsage {
    init(_ usage: NodeStatistics.Usage, _ unit: Unit) {
        self.init()
        total = Int64(clamping: usage.total)
        used = Int64(clamping: usage.used ?? 0)
        available = Int64(clamping: usage.available ?? 0)
        self.unit = unit
    }
}
