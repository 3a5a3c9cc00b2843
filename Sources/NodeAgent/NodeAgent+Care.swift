import ControlPlane
import ControllerCalls
import Glibc

/// How much of a volume is used.
public struct NodeStatistics: Codable, Equatable, Sendable {
    public struct Usage: Codable, Equatable, Sendable {
        public var total: UInt64
        /// `nil` for a block device, of which only its user knows.
        public var used: UInt64?
        public var available: UInt64?
    }

    public var volume: String
    public var bytes: Usage
    /// `nil` for a block device.
    public var inodes: Usage?
    /// Whether something is wrong with the volume.
    public var isAbnormal: Bool
    /// The volume's condition, in a sentence.
    public var condition: String
}

/// Volumes in use are looked at (CSI 1.12, "NodeGetVolumeStats") and enlarged ("NodeExpandVolume").
extension NodeAgent {
    /// - Parameter path: where the volume is staged or published.
    public func statistics(_ volume: VolumeID, path: String) async throws(NodeError) -> NodeStatistics {
        let path = try HostPath.resolve(path, "volume's path")
        let (device, bytes, problems) = try await condition(of: volume, at: path)
        let condition = problems.isEmpty ? "the volume is whole" : problems.joined(separator: "; ")
        let isAbnormal = !problems.isEmpty
        if HostPath.kind(path) == .blockDevice {
            return NodeStatistics(
                volume: volume.name, bytes: .init(total: bytes), isAbnormal: isAbnormal, condition: condition)
        }
        var state = statvfs()
        guard statvfs(path, &state) == 0 else {
            throw NodeError(
                .unavailable, "\(path) cannot be looked at (\(device.path)): \(String(cString: strerror(errno)))")
        }
        let size = UInt64(state.f_frsize)
        return NodeStatistics(
            volume: volume.name,
            bytes: .init(
                total: UInt64(state.f_blocks) * size, used: UInt64(state.f_blocks - state.f_bfree) * size,
                available: UInt64(state.f_bavail) * size),
            inodes: .init(
                total: UInt64(state.f_files), used: UInt64(state.f_files - state.f_ffree),
                available: UInt64(state.f_favail)), isAbnormal: isAbnormal, condition: condition)
    }

    /// The device of a volume that is in use at a path, its size, and what is wrong with it. Throws `notFound` where the volume is not in
    /// use there.
    private func condition(
        of volume: VolumeID, at path: String
    ) async throws(NodeError) -> (device: HostDevice, bytes: UInt64, problems: [String]) {
        if let device = try lost(volume, at: path) {
            let problem =
                "tercet-volumed does not have the volume attached, so that what is used here is dead or waits; \"tercet volume list\" "
                + "says whether it is to come back: where it is not there, end what uses it, and unstage it"
            return (device, try device.byteCount(), [problem])
        }
        let (summary, device) = try used(volume, at: path)
        var problems: [String] = []
        let devices = HostDevices(daemon: daemon, settings: settings, programs: programs(nil))
        switch try await devices.answer(of: device) {
        case .data: break
        case .error:
            problems.append(
                "its device \(device.path) answers each read with an error, for its server has died or another host has the volume: end "
                    + "what uses it here; it is whole again when it was unstaged and staged")
        case .nothing: problems.append("its device \(device.path) does not answer")
        }
        return (device, summary.bytes, problems + (try daemon.explain(volume).needs))
    }

    /// The device of a volume that is in use at a path, where tercet-volumed does not have it attached; `nil` elsewhere.
    private func lost(_ volume: VolumeID, at path: String) throws(NodeError) -> HostDevice? {
        guard try daemon.summary(of: volume)?.uuid.isEmpty ?? true, let staged = try owner(of: volume).stagingPath(),
            let record = try StageRecord.read(staged), record.volume == volume.name, let kind = record.device
        else { return nil }
        let devices = HostDevices(daemon: daemon, settings: settings, programs: programs(nil))
        guard let device = devices.find(kind, volume, uuid: record.uuid),
            try MountTable.current().uses(of: device.number).contains(path)
        else { return nil }
        return device
    }

    /// The volume and its device, where a path is the volume's. Throws `notFound` where it is not.
    private func used(
        _ volume: VolumeID, at path: String
    ) throws(NodeError) -> (summary: NodeVolume, device: HostDevice) {
        for (found, device) in try found() where found.volume == volume.name && found.paths.contains(path) {
            return (found, device)
        }
        throw NodeError(.notFound, "the volume \(volume) is neither staged nor published at \(path)")
    }

    /// Makes the file system of a volume that has grown as large as it. Nothing where it is as large already.
    ///
    /// - Parameters:
    ///   - path: where the volume is staged or published.
    ///   - requiredBytes: the size that the volume has to have at least.
    ///   - limitBytes: the size that it has at most.
    /// - Returns: the volume's size in bytes.
    public func expand(
        _ volume: VolumeID, path: String, requiredBytes: UInt64 = 0, limitBytes: UInt64 = .max
    ) async throws(NodeError) -> UInt64 {
        let path = try HostPath.resolve(path, "volume's path")
        let call = try begin(volume)
        let growth = try growth(volume, path, requiredBytes, limitBytes)
        guard let type = growth.type else { return growth.bytes }
        report("enlarge the file system at \(path)")
        try await FileSystem(type: type, device: growth.device, programs: call.programs).grow(at: path)
        return growth.bytes
    }

    /// A volume that may have grown.
    struct Growth {
        var device: HostDevice
        /// The device's size.
        var bytes: UInt64
        /// The file system on it; `nil` where it is used as a block device.
        var type: FileSystemType?
    }

    /// Throws where the volume, or its device, is not of the size that is asked for.
    ///
    /// - Parameter path: as the kernel writes it.
    func growth(
        _ volume: VolumeID, _ path: String, _ requiredBytes: UInt64, _ limitBytes: UInt64
    ) throws(NodeError) -> Growth {
        let (summary, device) = try used(volume, at: path)
        guard summary.bytes >= requiredBytes else {
            throw NodeError(
                .outOfRange,
                "the volume \(volume) has \(summary.bytes) bytes, and \(requiredBytes) are asked for: grow it first with "
                    + "\"tercet volume grow\"")
        }
        guard summary.bytes <= limitBytes else {
            throw NodeError(
                .outOfRange,
                "the volume \(volume) has \(summary.bytes) bytes, and at most \(limitBytes) are asked for: it does not shrink"
            )
        }
        let bytes = try device.byteCount()
        guard bytes >= summary.bytes else {
            throw NodeError(
                .failedPrecondition,
                "the device \(device.path) has \(bytes) bytes, and the volume \(volume) \(summary.bytes): unstage and stage it, for a "
                    + "device by \(device.kind.rawValue) keeps its size"
            )
        }
        guard HostPath.kind(path) == .folder else { return Growth(device: device, bytes: bytes) }
        guard let mount = try MountTable.current().mount(at: path), let type = FileSystemType(rawValue: mount.type)
        else {
            throw NodeError(.failedPrecondition, "there is no file system at \(path) that this agent knows")
        }
        return Growth(device: device, bytes: bytes, type: type)
    }
}
