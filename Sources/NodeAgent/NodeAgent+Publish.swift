import Glibc

/// A staged volume is made visible to a pod (CSI 1.12, "NodePublishVolume"), and no longer ("NodeUnpublishVolume").
extension NodeAgent {
    public func publish(_ request: PublishRequest) async throws(NodeError) {
        let staging = try HostPath.resolve(request.stagingPath, "staging path")
        let target = try HostPath.resolve(request.targetPath, "target path")
        guard staging != target else {
            throw NodeError(.invalidArgument, "the staging path and the target path are the same")
        }
        let call = try begin(request.volume)
        guard let record = try record(request.volume, at: staging), record.isComplete else {
            throw NodeError(
                .failedPrecondition, "the volume \(request.volume) is not staged at \(staging): stage it first")
        }
        let device = try device(of: record, call)
        switch record.capability {
        case .block: try await publishBlock(request, device, target, call)
        case .fileSystem: try await publishFileSystem(request, device, staging, target, call)
        }
    }

    private func publishFileSystem(
        _ request: PublishRequest, _ device: HostDevice, _ staging: String, _ target: String, _ call: Call
    ) async throws(NodeError) {
        let table = try MountTable.current()
        guard table.mount(at: staging)?.device == device.number else {
            throw NodeError(
                .failedPrecondition,
                "the volume \(request.volume) is not mounted at \(staging) any more: stage it again")
        }
        if let mount = table.mount(at: target) {
            if mount.device == device.number, mount.isReadOnly == request.isReadOnly { return }
            // A publish that died between its two steps has left the mount writable.
            let isHalf = mount.device == device.number && request.isReadOnly
            guard isHalf else { throw incompatible(mount, target, request) }
        } else {
            switch HostPath.kind(target) {
            case .folder: break
            case .nothing: guard mkdir(target, 0o750) == 0 else { throw HostPath.failure("mkdir", target) }
            default: throw NodeError(.invalidArgument, "the target path \(target) is not a folder")
            }
            report("mount \(request.volume) at \(target)")
            try await call.programs.succeed("mount", ["--bind", staging, target])
        }
        if request.isReadOnly {
            try await call.programs.succeed("mount", ["-o", "remount,bind,ro", target])
        }
    }

    private func publishBlock(
        _ request: PublishRequest, _ device: HostDevice, _ target: String, _ call: Call
    ) async throws(NodeError) {
        if let mount = try MountTable.current().mount(at: target) {
            guard HostPath.deviceNumber(target) == device.number else { throw incompatible(mount, target, request) }
            return
        }
        switch HostPath.kind(target) {
        case .file: break
        case .nothing:
            let descriptor = open(target, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0o640)
            guard descriptor >= 0 else { throw HostPath.failure("open", target) }
            close(descriptor)
        default: throw NodeError(.invalidArgument, "the target path \(target) is not a file")
        }
        // Read-only for one pod, while another one may write.
        guard !request.isReadOnly else {
            throw NodeError(
                .invalidArgument, "a block device cannot be published read-only: its node says nothing of who may write"
            )
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

    /// Takes a volume away from a pod, and removes what was made for it.
    public func unpublish(_ volume: VolumeID, targetPath: String) async throws(NodeError) {
        let target = try HostPath.resolve(targetPath, "target path")
        let call = try begin(volume)
        while try MountTable.current().mount(at: target) != nil {
            let isLost = HostPath.kind(target) == .corrupted
            report("unmount \(target)")
            try await call.programs.succeed("umount", isLost ? ["--lazy", target] : [target], .failedPrecondition)
        }
        switch HostPath.kind(target) {
        case .nothing: return
        case .folder: guard rmdir(target) == 0 else { throw HostPath.failure("rmdir", target) }
        case .file: guard unlink(target) == 0 else { throw HostPath.failure("unlink", target) }
        default: throw NodeError(.failedPrecondition, "\(target) is nothing that this agent makes: it was left alone")
        }
    }
}
