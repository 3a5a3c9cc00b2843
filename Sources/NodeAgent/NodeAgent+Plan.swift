import ControlPlane
import ControllerCalls

/// The steps of a call, told and not done.
extension NodeAgent {
    public func planStage(_ request: StageRequest) throws(NodeError) -> [String] {
        let path = try HostPath.resolve(request.stagingPath, "staging path")
        let record = try record(request.volume, at: path)
        if let record { try check(record, request) }
        let devices = HostDevices(daemon: daemon, settings: settings, programs: programs(nil))
        let summary = try daemon.summary(of: request.volume)
        let kind = record?.device ?? settings.deviceKind ?? devices.probe()
        var device: HostDevice?
        if let kind, let summary { device = devices.find(kind, request.volume, uuid: summary.uuid) }
        var steps: [String] = []
        if summary == nil {
            guard !request.members.isEmpty else {
                throw NodeError(.notFound, "tercet-volumed has no volume \(request.volume): name its members")
            }
            steps.append("attach \(request.volume) with the members \(request.members.joined(separator: ", "))")
        }
        if device == nil {
            steps.append("make \(request.volume) a block device by \(kind?.rawValue ?? "no way that this host has")")
        }
        guard case .fileSystem(let type, _) = request.capability else { return steps }
        if let device, try MountTable.current().mount(at: path)?.device == device.number { return steps }
        let contents = summary == nil ? "" : try daemon.explain(request.volume).contents
        switch contents {
        case "written": steps.append("look at its \(type.rawValue), without repairing it")
        case "blank": steps.append("format \(request.volume) as \(type.rawValue), where a look at it finds nothing")
        default:
            steps.append("format \(request.volume) as \(type.rawValue) where it is blank, or look at its file system")
        }
        return steps + ["mount \(request.volume) at \(path)"]
    }

    public func planUnstage(_ volume: VolumeID, stagingPath: String) throws(NodeError) -> [String] {
        let path = try HostPath.resolve(stagingPath, "staging path")
        guard let record = try record(volume, at: path) else { return [] }
        var steps: [String] = []
        if try MountTable.current().mount(at: path) != nil { steps.append("unmount \(path)") }
        if record.device != nil { steps.append("end the device of \(volume)") }
        if record.isAttachedByStage { steps.append("detach \(volume)") }
        return steps
    }

    public func planPublish(_ request: PublishRequest) throws(NodeError) -> [String] {
        let staging = try HostPath.resolve(request.stagingPath, "staging path")
        let target = try HostPath.resolve(request.targetPath, "target path")
        _ = try stagedRecord(request.volume, at: staging)
        if let mount = try MountTable.current().mount(at: target), mount.isReadOnly == request.isReadOnly { return [] }
        let owned =
            request.isReadOnly
            ? nil : request.group.map { "make all files those of the group \($0), where they are not" }
        return [owned, "mount \(request.volume) at \(target)\(request.isReadOnly ? ", read-only" : "")"].compactMap {
            $0
        }
    }

    public func planExpand(_ volume: VolumeID, path: String, requiredBytes: UInt64) throws(NodeError) -> [String] {
        let path = try HostPath.resolve(path, "volume's path")
        let growth = try growth(volume, path, requiredBytes, .max)
        return growth.type.map {
            ["enlarge the \($0.rawValue) at \(path), where it is smaller than \(growth.bytes) bytes"]
        } ?? []
    }

    public func planUnpublish(_ volume: VolumeID, targetPath: String) throws(NodeError) -> [String] {
        let target = try HostPath.resolve(targetPath, "target path")
        var steps: [String] = []
        if try MountTable.current().mount(at: target) != nil { steps.append("unmount \(target)") }
        if HostPath.kind(target) != .nothing { steps.append("remove \(target)") }
        return steps
    }
}
