import ControllerCalls

/// A file system on a device: made, looked at and enlarged by its own programs.
struct FileSystem {
    let type: FileSystemType
    let device: HostDevice
    let programs: HostProgram

    /// Makes the file system. The device is blank, and ours alone.
    func make() async throws(NodeError) {
        switch type {
        // A blank volume has nothing to be discarded.
        case .ext4: try await programs.succeed("mkfs.ext4", ["-q", "-F", "-E", "nodiscard", "-m", "0", device.path])
        case .xfs: try await programs.succeed("mkfs.xfs", ["-q", "-f", "-K", device.path])
        }
        try await programs.succeed("blockdev", ["--flushbufs", device.path], .unavailable)
    }

    /// Looks whether the file system may be mounted. Repairs nothing: what a mount replays, it may replay.
    func check() async throws(NodeError) {
        // XFS replays its log when it is mounted, and says itself what is wrong.
        guard type == .ext4 else { return }
        // Without its journal, a file system that was mounted when its host died has errors that a mount would end.
        let head = try await programs.succeed("dumpe2fs", ["-h", device.path], .unavailable)
        if head.text.contains(" needs_recovery") {
            let replay = try await programs.run("e2fsck", ["-p", "-E", "journal_only", device.path])
            guard replay.status <= 1 else { throw broken(replay) }
        }
        let check = try await programs.run("e2fsck", ["-n", device.path])
        guard check.status == 0 else { throw broken(check) }
    }

    /// - Parameter outcome: of e2fsck; 4 in its exit status are errors that are left, 8 a failure of its own.
    private func broken(_ outcome: HostProgram.Outcome) -> NodeError {
        guard outcome.status & 4 != 0 else {
            return NodeError(
                .unavailable,
                "the file system on \(device.path) cannot be looked at (e2fsck \(outcome.status)): \(outcome.line)")
        }
        return NodeError(
            .failedPrecondition,
            "the file system on \(device.path) has errors, and was not mounted: look with \"e2fsck -n\", repair with \"e2fsck -f\""
        )
    }

    /// Makes the file system as large as its device, while it is mounted at a path.
    func grow(at path: String) async throws(NodeError) {
        switch type {
        case .ext4: try await programs.succeed("resize2fs", [device.path])
        case .xfs: try await programs.succeed("xfs_growfs", [path])
        }
    }
}
