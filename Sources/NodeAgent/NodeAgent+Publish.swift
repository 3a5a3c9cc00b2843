import ControllerCalls
import Glibc

/// A staged volume is made visible to a pod (CSI 1.12, "NodePublishVolume"), and no longer ("NodeUnpublishVolume").
extension NodeAgent {
    public func publish(_ request: PublishRequest) async throws(NodeError) {
        let staging = try HostPath.resolve(request.stagingPath, "staging path")
        let target = try HostPath.resolve(request.targetPath, "target path")
        guard staging != target else {
            throw NodeError(.invalidArgument, "the staging path and the target path are the same")
        }
        let call = try begin(request.volume, at: target)
        var record = try stagedRecord(request.volume, at: staging)
        if let capability = request.capability, capability != record.capability {
            throw NodeError(
                .failedPrecondition,
                "the volume \(request.volume) is staged as \(record.capability.text), and cannot be published as \(capability.text): "
                    + "unstage and stage it")
        }
        let device = try await device(of: record, call)
        if request.isExclusive {
            let uses = try MountTable.current().uses(of: device.number)
            if let other = uses.first(where: { $0 != staging && $0 != target }) {
                throw NodeError(
                    .failedPrecondition,
                    "the volume \(request.volume) is for one pod alone, and is published at \(other): unpublish it there first"
                )
            }
        }
        switch record.capability {
        case .block: try await publishBlock(request, device, target, call)
        case .fileSystem: try await publishFileSystem(request, device, &record, target, call)
        }
    }

    /// The record of a stage that has been done.
    func stagedRecord(_ volume: VolumeID, at stagingPath: String) throws(NodeError) -> StageRecord {
        guard let record = try record(volume, at: stagingPath), record.isComplete else {
            throw NodeError(
                .failedPrecondition, "the volume \(volume) is not staged at \(stagingPath): stage it first")
        }
        return record
    }

    private func publishFileSystem(
        _ request: PublishRequest, _ device: HostDevice, _ record: inout StageRecord, _ target: String, _ call: Call
    ) async throws(NodeError) {
        let table = try MountTable.current()
        guard let staged = table.mount(at: record.stagingPath), staged.device == device.number else {
            throw NodeError(
                .failedPrecondition,
                "the volume \(request.volume) is not mounted at \(record.stagingPath) any more: stage it again")
        }
        let isReadOnly = request.isReadOnly || staged.isReadOnly
        if let mount = table.mount(at: target) {
            guard mount.device == device.number else { throw incompatible(mount, target, request) }
            if mount.isReadOnly == isReadOnly { return }
            // A publish that died between its two steps has left the mount writable.
            guard request.isReadOnly, record.halfPublished == target else { throw incompatible(mount, target, request) }
        } else {
            switch HostPath.kind(target) {
            case .folder where HostPath.isEmpty(target): break
            case .nothing: guard mkdir(target, 0o750) == 0 else { throw HostPath.failure("mkdir", target) }
            default: throw NodeError(.invalidArgument, "the target path \(target) is not an empty folder")
            }
            if let group = request.group, !isReadOnly {
                try await FileGroup(number: group, programs: call.programs).own(record.stagingPath, report)
            }
            if request.isReadOnly {
                record.halfPublished = target
                try record.save()
            }
            report("mount \(request.volume) at \(target)")
            try await call.programs.succeed("mount", ["--bind", record.stagingPath, target])
        }
        if request.isReadOnly {
            try await call.programs.succeed("mount", ["-o", "remount,bind,ro", target])
            record.halfPublished = nil
            try record.save()
        }
    }

    private func publishBlock(
        _ request: PublishRequest, _ device: HostDevice, _ target: String, _ call: Call
    ) async throws(NodeError) {
        guard !request.isReadOnly else {
            throw NodeError(
                .invalidArgument,
                "a block device cannot be published read-only: its node says nothing of who may write")
        }
        if let mount = try MountTable.current().mount(at: target) {
            guard HostPath.deviceNumber(target) == device.number else { throw incompatible(mount, target, request) }
            return
        }
        switch HostPath.kind(target) {
        case .file where HostPath.isEmpty(target): break
        case .nothing:
            let descriptor = open(target, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0o640)
            guard descriptor >= 0 else { throw HostPath.failure("open", target) }
            close(descriptor)
        default: throw NodeError(.invalidArgument, "the target path \(target) is not an empty file")
        }
        report("mount the device of \(request.volume) at \(target)")
        try await call.programs.succeed("mount", ["--bind", device.path, target])
    }

    private func incompatible(_ mount: Mount, _ target: String, _ request: PublishRequest) -> NodeError {
        NodeError(
            .alreadyExists,
            "\(mount.source) is mounted at \(target) \(mount.isReadOnly ? "read-only" : "to be written"), which is not what is asked for "
                + "the volume \(request.volume): unpublish it first")
    }

    /// Takes a volume away from a pod, and removes what was made for it: nothing that is not the volume's, and nothing that holds data.
    public func unpublish(_ volume: VolumeID, targetPath: String) async throws(NodeError) {
        guard let target = try HostPath.resolveIfThere(targetPath, "target path") else { return }
        let call = try begin(volume, at: target)
        if try MountTable.current().mount(at: target) != nil {
            var record: StageRecord?
            if let staged = try owner(of: volume).stagingPath() { record = try StageRecord.read(staged) }
            let numbers = try numbers(of: volume, record, call.devices)
            while let mount = try MountTable.current().mount(at: target) {
                let number = mount.isOfNode ? HostPath.deviceNumber(target) : mount.device
                guard let number, numbers.contains(number) else {
                    throw NodeError(
                        .failedPrecondition,
                        "\(mount.source) is mounted at \(target), and is not the volume \(volume): it was left alone")
                }
                report("unmount \(target)")
                let isLost = HostPath.kind(target) == .corrupted
                try await call.programs.succeed("umount", isLost ? ["--lazy", target] : [target], .failedPrecondition)
            }
        }
        let kind = HostPath.kind(target)
        if kind == .nothing { return }
        guard kind == .folder || kind == .file, HostPath.isEmpty(target) else {
            throw NodeError(
                .failedPrecondition, "\(target) is neither an empty folder nor an empty file: it was left alone")
        }
        guard kind == .folder ? rmdir(target) == 0 : unlink(target) == 0 else {
            throw HostPath.failure("remove", target)
        }
    }
}
