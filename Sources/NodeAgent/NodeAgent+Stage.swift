import Base
import ControlPlane
import ControllerCalls
import Glibc

/// A volume is attached, becomes a device, is formatted where it is blank, and is mounted (CSI 1.12, "NodeStageVolume"); and the way back
/// ("NodeUnstageVolume").
extension NodeAgent {
    public func stage(_ request: StageRequest) async throws(NodeError) {
        let path = try HostPath.resolve(request.stagingPath, "staging path")
        guard [.nothing, .folder, .corrupted].contains(HostPath.kind(path)) else {
            throw NodeError(.invalidArgument, "the staging path \(path) is not a folder")
        }
        let call = try begin(request.volume, at: path)
        try checkIsStagedNowhereElse(request.volume, path)
        var record =
            try record(request.volume, at: path)
            ?? StageRecord(volume: request.volume.name, stagingPath: path, capability: request.capability)
        try check(record, request)
        try checkMembers(request)
        if record.isComplete, try await isStaged(record, call) { return }
        try await clear(record, call)
        let summary = try attach(request, &record, call)
        guard record.uuid.isEmpty || record.uuid == summary.uuid else {
            throw NodeError(
                .failedPrecondition,
                "the volume \(request.volume) was \(record.uuid) when it was staged at \(path), and is \(summary.uuid) now: unstage it first"
            )
        }
        record.uuid = summary.uuid
        if request.limits != LimitParameters() { try daemon.limit(request.volume, request.limits) }
        if request.capability == .block { try checkIsNoHalfFileSystem(request.volume) }
        let device = try await makeDevice(&record, call)
        try checkIsFree(device, except: path, request.volume)
        if case .fileSystem(let type, let options) = request.capability {
            let fileSystem = FileSystem(type: type, device: device, programs: call.programs)
            try await prepare(fileSystem, request, &record, call)
            try await mount(fileSystem, options, at: path, call)
        }
        record.isComplete = true
        record.isFormatting = false
        try record.save()
    }

    /// Throws where a stage was begun there for another use.
    func check(_ record: StageRecord, _ request: StageRequest) throws(NodeError) {
        guard record.capability != request.capability else { return }
        let wanted =
            record.capability.text == request.capability.text ? "with others" : "as \(request.capability.text)"
        throw NodeError(
            .alreadyExists,
            "the volume \(request.volume) \(record.isComplete ? "is" : "was begun to be") staged at \(record.stagingPath) as "
                + "\(record.capability.text), not \(wanted): unstage it first")
    }

    /// Throws where the volume of that name is another one. One member in common is enough: others may have been replaced since.
    private func checkMembers(_ request: StageRequest) throws(NodeError) {
        guard !request.members.isEmpty, try daemon.summary(of: request.volume) != nil else { return }
        let present = try daemon.explain(request.volume).members.map(\.address)
        let wanted = request.members.map { member in
            guard let end = member.firstIndex(of: "/"),
                let address = SocketAddress(String(member[..<end]), defaultPort: 4420)
            else { return member }
            return "\(address)\(member[end...])"
        }
        guard Set(present).isDisjoint(with: wanted) else { return }
        throw NodeError(
            .alreadyExists,
            "tercet-volumed has another volume by the name \(request.volume), with the members \(present.joined(separator: ", ")): name "
                + "those, or stage this one by another name")
    }

    private func checkIsStagedNowhereElse(_ volume: VolumeID, _ path: String) throws(NodeError) {
        guard let other = try owner(of: volume).stagingPath(), other != path,
            try StageRecord.read(other)?.volume == volume.name
        else { return }
        throw NodeError(.alreadyExists, "the volume \(volume) is staged at \(other) already: unstage it there first")
    }

    /// A pod that wrote to a volume whose format has not ended would lose all of it when the format is begun anew.
    private func checkIsNoHalfFileSystem(_ volume: VolumeID) throws(NodeError) {
        guard try daemon.explain(volume).contents == "being formatted" else { return }
        throw NodeError(
            .failedPrecondition,
            "the volume \(volume) is being formatted by a call that has not ended: stage it with a file system and --continue-format first"
        )
    }

    /// Whether a stage that was done still holds: the device is this volume's and answers, and what is mounted is on it.
    private func isStaged(_ record: StageRecord, _ call: Call) async throws(NodeError) -> Bool {
        guard try daemon.summary(of: call.volume)?.uuid == record.uuid, let kind = record.device,
            let device = call.devices.find(kind, call.volume, uuid: record.uuid), try await call.devices.isAlive(device)
        else { return false }
        guard case .fileSystem = record.capability else { return true }
        guard HostPath.kind(record.stagingPath) != .corrupted else { return false }
        return try MountTable.current().mount(at: record.stagingPath)?.device == device.number
    }

    /// Takes this volume's mount away where its device is dead, or gone: nothing can be written through it any more.
    private func clear(_ record: StageRecord, _ call: Call) async throws(NodeError) {
        guard let mount = try MountTable.current().mount(at: record.stagingPath) else { return }
        guard try numbers(of: call.volume, record, call.devices).contains(mount.device) else {
            throw NodeError(
                .alreadyExists,
                "\(mount.source) is mounted at \(record.stagingPath), and is not this volume: unmount it by hand")
        }
        for device in try devices(of: call.volume, record, call.devices) where device.number == mount.device {
            if try await call.devices.isAlive(device) { return }
        }
        report("the mount at \(record.stagingPath) has lost its device: it is taken away")
        try await call.programs.succeed("umount", ["--lazy", record.stagingPath])
    }

    /// Attaches the volume, where tercet-volumed does not have it.
    private func attach(
        _ request: StageRequest, _ record: inout StageRecord, _ call: Call
    ) throws(NodeError) -> VolumeSummary {
        if try daemon.summary(of: request.volume) == nil {
            guard !request.members.isEmpty else {
                throw NodeError(
                    .notFound,
                    "tercet-volumed has no volume \(request.volume): name its members, or put it into the daemon's configuration"
                )
            }
            record.isAttachedByStage = true
            try record.save()
            // From here on no other path's stage may use what this one will take away again.
            try owner(of: request.volume).set(record.stagingPath)
            report("attach \(request.volume)")
            do throws(NodeError) {
                try daemon.attach(request.volume, request.members, takesOver: request.takesOver)
            } catch {
                // One that is late may still be done, and a daemon that died may have kept it for the next one.
                if let known = try? daemon.list(), !known.contains(where: { $0.name == request.volume.name }) {
                    record.isAttachedByStage = false
                    try owner(of: request.volume).set(nil)
                    try record.save()
                }
                throw error
            }
        }
        guard let summary = try daemon.summary(of: request.volume), !summary.uuid.isEmpty else {
            throw NodeError(
                .unavailable,
                "the volume \(request.volume) is not attached yet: \"tercet volume explain \(request.volume)\" says why"
            )
        }
        return summary
    }

    /// Makes the volume a device, the same kind as before.
    private func makeDevice(_ record: inout StageRecord, _ call: Call) async throws(NodeError) -> HostDevice {
        let present = try devices(of: call.volume, record, call.devices).first?.kind
        guard let kind = record.device ?? present ?? settings.deviceKind ?? call.devices.probe(),
            call.devices.isPossible(kind)
        else {
            throw NodeError(
                .resourceExhausted,
                "this host has no way to make a volume a block device: load the kernel module nbd, or install nbdfuse")
        }
        record.device = kind
        try owner(of: call.volume).set(record.stagingPath)
        try record.save()
        report("make \(call.volume) a block device by \(kind.rawValue)")
        let device = try await call.devices.make(kind, call.volume, uuid: record.uuid)
        record.see(device)
        try record.save()
        return device
    }

    /// Throws where the device is mounted at a path that this stage knows nothing of.
    private func checkIsFree(_ device: HostDevice, except path: String, _ volume: VolumeID) throws(NodeError) {
        let table = try MountTable.current()
        guard table.mount(at: path)?.device != device.number else { return }
        guard let other = table.uses(of: device.number).first(where: { $0 != path }) else { return }
        throw NodeError(
            .alreadyExists, "the volume \(volume) is in use at \(other) already: end that first")
    }

    /// Sees to it that the file system is there. It is made on a volume that is blank, by the volume's own word and by a look at it, and
    /// on no other.
    private func prepare(
        _ fileSystem: FileSystem, _ request: StageRequest, _ record: inout StageRecord, _ call: Call
    ) async throws(NodeError) {
        if try MountTable.current().mount(at: record.stagingPath) != nil { return }
        let device = fileSystem.device
        let contents = try daemon.explain(request.volume).contents
        let mayContinue = contents == "being formatted" && (record.isFormatting || request.continuesFormat)
        let finding = try await SignatureProbe(device: device, programs: call.programs).look()
        switch (contents, finding) {
        case ("blank", .nothing): break
        case ("being formatted", _) where mayContinue: break
        case ("being formatted", _):
            throw NodeError(
                .failedPrecondition,
                "the volume \(request.volume) is being formatted by another call, or one has died at it; once it is sure that none "
                    + "is at work, stage it with --continue-format")
        case ("blank", _):
            throw NodeError(
                .failedPrecondition,
                "the volume \(request.volume) is marked as blank, but there is something on it: it was not formatted")
        case (_, .signature(fileSystem.type.rawValue)): return try await fileSystem.check()
        case (_, .signature(let type)):
            throw NodeError(
                .failedPrecondition,
                "there is \(type) on the volume \(request.volume), not \(fileSystem.type.rawValue): it was neither mounted nor formatted"
            )
        default:
            throw NodeError(
                .failedPrecondition,
                "the volume \(request.volume) has been written, and no file system is found on it: it was not formatted"
            )
        }
        record.isFormatting = true
        try record.save()
        report("format \(request.volume) as \(fileSystem.type.rawValue)")
        try daemon.mark(request.volume, "being formatted")
        try await fileSystem.make()
        try daemon.mark(request.volume, "written")
    }

    private func mount(
        _ fileSystem: FileSystem, _ options: [String], at path: String, _ call: Call
    ) async throws(NodeError) {
        if try MountTable.current().mount(at: path)?.device == fileSystem.device.number { return }
        switch HostPath.kind(path) {
        case .folder: break
        case .nothing: guard mkdir(path, 0o750) == 0 else { throw HostPath.failure("mkdir", path) }
        default: throw NodeError(.invalidArgument, "the staging path \(path) is not a folder")
        }
        report("mount \(call.volume) at \(path)")
        let given = options.isEmpty ? [] : ["-o", options.joined(separator: ",")]
        try await call.programs.succeed(
            "mount", ["-t", fileSystem.type.rawValue] + given + [fileSystem.device.path, path],
            hiding: Set(given.dropFirst()))
        guard try MountTable.current().mount(at: path)?.device == fileSystem.device.number else {
            throw NodeError(
                .internal, "\(path) is not the mount of \(fileSystem.device.path), though mount(8) succeeded")
        }
    }

    /// Undoes all of a stage. Done only when exactly this volume's device is gone.
    public func unstage(_ volume: VolumeID, stagingPath: String) async throws(NodeError) {
        guard let path = try HostPath.resolveIfThere(stagingPath, "staging path") else { return }
        let call = try begin(volume, at: path)
        guard let record = try record(volume, at: path) else {
            try checkIsNotStaged(volume, path)
            return try StageRecord.remove(path)
        }
        if let kind = record.device {
            let numbers = try numbers(of: volume, record, call.devices)
            try checkIsUnpublished(numbers, path, volume)
            try await unmount(path, of: record, numbers, call)
            report("end the device of \(volume)")
            try await call.devices.remove(kind, volume, uuid: record.uuid)
        }
        // A stage that another one has come before has neither.
        let owner = try owner(of: volume).stagingPath() ?? path
        if record.isAttachedByStage, owner == path, try daemon.summary(of: volume) != nil {
            report("detach \(volume)")
            try daemon.detach(volume)
        }
        // The caller may make the folder, and removes it then; one that is not empty was never ours.
        rmdir(path)
        if owner == path { try self.owner(of: volume).set(nil) }
        try StageRecord.remove(path)
    }

    /// Throws where the stage's state has been lost, or something else is there.
    private func checkIsNotStaged(_ volume: VolumeID, _ path: String) throws(NodeError) {
        if try owner(of: volume).stagingPath() == path {
            throw NodeError(
                .failedPrecondition,
                "the volume \(volume) is staged at \(path), and the state of its stage, \(StageRecord.path(of: path)), is gone: stage it "
                    + "there again, which writes it anew, and then unstage it")
        }
        if let mount = try MountTable.current().mount(at: path) {
            throw NodeError(
                .failedPrecondition,
                "\(mount.source) is mounted at \(path), and no stage of this agent is known there: unmount it by hand")
        }
    }

    private func checkIsUnpublished(_ numbers: [DeviceNumber], _ path: String, _ volume: VolumeID) throws(NodeError) {
        let table = try MountTable.current()
        for number in numbers {
            guard let other = table.uses(of: number).first(where: { $0 != path }) else { continue }
            throw NodeError(
                .failedPrecondition, "the volume \(volume) is still published at \(other): unpublish it there first")
        }
    }

    private func unmount(
        _ path: String, of record: StageRecord, _ numbers: [DeviceNumber], _ call: Call
    ) async throws(NodeError) {
        while let mount = try MountTable.current().mount(at: path) {
            guard numbers.contains(mount.device) else {
                throw NodeError(
                    .failedPrecondition,
                    "\(mount.source) is mounted at \(path), and is not this volume: unmount it by hand")
            }
            var isLost = true
            for device in try devices(of: call.volume, record, call.devices) where device.number == mount.device {
                isLost = try await !call.devices.isAlive(device)
            }
            report(isLost ? "take the mount at \(path) away, which has lost its device" : "unmount \(path)")
            try await call.programs.succeed("umount", isLost ? ["--lazy", path] : [path], .failedPrecondition)
        }
    }
}
