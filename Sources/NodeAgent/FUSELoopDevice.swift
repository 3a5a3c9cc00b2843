import ControllerCalls
import Foundation
import Glibc

/// A volume as a file of nbdfuse, and that file as a loop device. The volume's UUID and name are in the file's path, which the kernel
/// tells of each loop device.
struct FUSELoopDevice {
    private let volume: VolumeID
    private let folder: String
    private let socket: String
    /// The export's name at tercet-volumed: no other volume has an export of it.
    let exportName: String

    private var file: String { "\(folder)/\(volume)" }

    init(_ volume: VolumeID, _ uuid: String, _ settings: NodeSettings) {
        self.volume = volume
        folder = "\(settings.runFolder)/\(uuid)"
        socket = settings.nbdSocket
        exportName = "\(volume).\(uuid)"
    }

    /// Whether this host has what it takes.
    static var isPossible: Bool {
        access("/dev/fuse", R_OK | W_OK) == 0 && access("/dev/loop-control", R_OK | W_OK) == 0
            && access("/usr/bin/nbdfuse", X_OK) == 0
    }

    /// The device, whether its file is still served or not: one whose nbdfuse has died stays while somebody uses it, and fails each I/O.
    func find() -> HostDevice? {
        guard let devices = try? FileManager.default.contentsOfDirectory(atPath: "/sys/block") else { return nil }
        for name in devices where name.hasPrefix("loop") {
            guard
                let line = try? String(contentsOfFile: "/sys/block/\(name)/loop/backing_file", encoding: .utf8),
                isFile(line.trimmingCharacters(in: .newlines)),
                let number = HostPath.deviceNumber("/dev/\(name)")
            else { continue }
            return HostDevice(kind: .fuseLoop, path: "/dev/\(name)", number: number)
        }
        return nil
    }

    /// Whether the kernel means the volume's file.
    func isFile(_ text: String) -> Bool {
        // It says so of a file that it cannot find at its path any more.
        [file, "\(file) (deleted)"].contains(text)
    }

    /// Whether the file's server answers. The kernel tells of a file from memory for a while after its server has died; to open it, it has
    /// to ask.
    private var isServed: Bool {
        let descriptor = open(file, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        close(descriptor)
        return true
    }

    /// Starts nbdfuse, and makes its file a loop device. The former ones are gone.
    func make(_ programs: HostProgram) async throws(NodeError) {
        try VolumeLock.make(folder)
        if !isServed {
            unlink(log)
            // It outlives this call, and does not hold its lock.
            let starter = HostProgram(lock: nil, deadline: programs.deadline)
            try await starter.succeed(
                "setsid",
                [
                    "--fork", "sh", "-c", "exec nbdfuse \"$1\" \"$2\" </dev/null >\"$3\" 2>&1", "sh", file,
                    uri, log,
                ], .unavailable)
            try await appear(before: programs.deadline)
        }
        let sectorSize = try await blockSize(programs)
        try await programs.succeed(
            "losetup", ["--find", "--direct-io=on", "--sector-size", "\(sectorSize)", file], .resourceExhausted)
    }

    private var uri: String {
        let place = socket.addingPercentEncoding(withAllowedCharacters: .urlPathAllowed) ?? socket
        return "nbd+unix:///\(exportName)?socket=\(place)"
    }

    /// Bytes of the volume's blocks. nbdfuse refuses requests for less, which a loop device with smaller sectors would make.
    private func blockSize(_ programs: HostProgram) async throws(NodeError) -> UInt32 {
        struct Answer: Decodable {
            struct Export: Decodable {
                var minimum: UInt32

                enum CodingKeys: String, CodingKey { case minimum = "block_size_minimum" }
            }
            var exports: [Export]
        }
        // Unless it is told not to, nbdinfo reads from the volume and has file(1) guess what it holds.
        let found = try await programs.succeed("nbdinfo", ["--json", "--no-content", uri], .unavailable)
        guard let export = try? JSONDecoder().decode(Answer.self, from: Data(found.bytes)).exports.first else {
            throw NodeError(.unavailable, "nbdinfo tells no block size of \(uri): \(found.line)")
        }
        return max(512, export.minimum)
    }

    private var log: String { "\(folder).log" }

    private func appear(before deadline: ContinuousClock.Instant) async throws(NodeError) {
        while !isServed {
            if let text = try? String(contentsOfFile: log, encoding: .utf8),
                let line = text.split(separator: "\n").first
            {
                throw NodeError(.unavailable, "nbdfuse has not begun: \(line)")
            }
            guard ContinuousClock.now < deadline else {
                throw NodeError(.deadlineExceeded, "nbdfuse has not begun within the time of the call")
            }
            try? await Task.sleep(for: .milliseconds(5))
        }
    }

    /// Ends the loop device, and then nbdfuse, which ends with its mount.
    ///
    /// - Parameter isDead: nobody serves the file any more; a device that somebody still has open then stays to its last close.
    func remove(_ programs: HostProgram, isDead: Bool) async throws(NodeError) {
        if let device = find() {
            try await programs.succeed("losetup", ["--detach", device.path])
            // The kernel lets go of it when nobody has it open any more.
            while !isDead, find() != nil {
                guard ContinuousClock.now < programs.deadline else {
                    throw NodeError(.deadlineExceeded, "\(device.path) is still in use: who has it open?")
                }
                try? await Task.sleep(for: .milliseconds(5))
            }
        }
        if try MountTable.current().mount(at: folder) != nil {
            try await programs.succeed("umount", isDead ? ["--lazy", folder] : [folder])
        }
        rmdir(folder)
        unlink(log)
    }
}
