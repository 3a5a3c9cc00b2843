import ControllerCalls
import Glibc

/// The group of all files of a file system (CSI 1.12, `volume_mount_group`), which may read and write them, and of all that are made
/// there later.
struct FileGroup {
    let number: UInt32
    let programs: HostProgram

    /// Makes the files those of the group. The folder itself comes last: where it is right, all is.
    ///
    /// - Parameter folder: the root of the file system.
    func own(_ folder: String, _ report: (String) -> Void) async throws(NodeError) {
        guard try !isOwner(of: folder) else { return }
        report("give \(folder) to the group \(number)")
        try await programs.succeed("chgrp", ["--recursive", "--no-dereference", "\(number)", folder])
        try await programs.succeed("chmod", ["--recursive", "ug+rwX", folder])
        // From a folder's parent, so that nobody can put a link in the place of one on the way to it.
        try await programs.succeed(
            "find", [folder, "-xdev", "-depth", "-type", "d", "-execdir", "chmod", "g+s", "--", "{}", "+"])
    }

    private func isOwner(of folder: String) throws(NodeError) -> Bool {
        var state = stat()
        guard lstat(folder, &state) == 0 else { throw HostPath.failure("lstat", folder) }
        let mode = S_ISGID | S_IRGRP | S_IWGRP | S_IXGRP
        return state.st_gid == number && state.st_mode & mode == mode
    }
}
