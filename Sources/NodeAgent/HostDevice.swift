import ControllerCalls
import Foundation
import Glibc

/// A way to make a volume a block device of this host.
public enum HostDeviceKind: String, CaseIterable, Codable, Sendable {
    /// The kernel's NBD client, which tercet-volumed connects.
    case kernelNBD = "kernel-nbd"
    /// nbdfuse, whose file is a loop device's: for kernels without an NBD client.
    case fuseLoop = "nbdfuse"
}

/// The block device that a volume is.
struct HostDevice: Sendable {
    var kind: HostDeviceKind
    /// The path for programs; `number` is what it is called now.
    var path: String
    var number: DeviceNumber

    /// The device's size.
    func byteCount() throws(NodeError) -> UInt64 {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw HostPath.failure("open", path) }
        defer { close(descriptor) }
        let size = lseek(descriptor, 0, SEEK_END)
        guard size >= 0 else { throw HostPath.failure("lseek", path) }
        return UInt64(size)
    }
}

/// The block devices of this host that are volumes. A device is found by the volume's name and UUID each time, never by its number.
struct HostDevices {
    let daemon: VolumeDaemon
    let settings: NodeSettings
    let programs: HostProgram

    /// The best way that this host has.
    func probe() -> HostDeviceKind? { HostDeviceKind.allCases.first { isPossible($0) } }

    func isPossible(_ kind: HostDeviceKind) -> Bool {
        switch kind {
        case .kernelNBD: KernelNBDDevice.isPossible
        case .fuseLoop: FUSELoopDevice.isPossible
        }
    }

    /// The device that a volume is; `nil` where it is none. It may be dead: `isAlive` asks it.
    func find(_ kind: HostDeviceKind, _ volume: VolumeID, uuid: String) -> HostDevice? {
        switch kind {
        case .kernelNBD: KernelNBDDevice(volume, uuid).find()
        case .fuseLoop: FUSELoopDevice(volume, uuid, settings).find()
        }
    }

    /// Whether the device that has a number now is known, and is none of a volume's.
    func isAnothers(_ number: DeviceNumber, _ volume: VolumeID, uuid: String) -> Bool {
        let folder = "/sys/dev/block/\(number.major):\(number.minor)"
        func line(_ name: String) -> String? {
            (try? String(contentsOfFile: "\(folder)/\(name)", encoding: .utf8))?.trimmingCharacters(
                in: .whitespacesAndNewlines)
        }
        if let file = line("loop/backing_file") { return !FUSELoopDevice(volume, uuid, settings).isFile(file) }
        if let backend = line("backend") { return !KernelNBDDevice(volume, uuid).isBackend(backend) }
        return false
    }

    /// Whether a device answers a read. Throws where it answers neither with data nor with an error.
    func isAlive(_ device: HostDevice) async throws(NodeError) -> Bool {
        try await programs.run("dd", ["if=\(device.path)", "iflag=direct", "bs=4k", "count=1", "status=none"]).bytes
            .count == 4096
    }

    /// How a device answers a read.
    enum Answer { case data, error, nothing }

    /// Asks a device for a block, for some seconds.
    func answer(of device: HostDevice) async throws(NodeError) -> Answer {
        let programs = HostProgram(lock: nil, deadline: min(programs.deadline, .now + .seconds(Self.patienceSeconds)))
        let devices = HostDevices(daemon: daemon, settings: settings, programs: programs)
        do throws(NodeError) { return try await devices.isAlive(device) ? .data : .error } catch {
            guard error.code == .deadlineExceeded else { throw error }
            return .nothing
        }
    }

    private static let patienceSeconds = 5

    /// Makes the volume a device, or returns the one that it is. One that is dead is replaced.
    func make(_ kind: HostDeviceKind, _ volume: VolumeID, uuid: String) async throws(NodeError) -> HostDevice {
        if let device = find(kind, volume, uuid: uuid), try await isAlive(device) { return device }
        switch kind {
        case .kernelNBD: try daemon.export(volume, as: volume.name, kind: "kernel-nbd")
        case .fuseLoop:
            let device = FUSELoopDevice(volume, uuid, settings)
            try await device.remove(programs, isDead: true)
            try daemon.export(volume, as: device.exportName, kind: "nbd")
            try await device.make(programs)
        }
        guard let device = find(kind, volume, uuid: uuid), try await isAlive(device) else {
            throw NodeError(
                .unavailable, "the device of the volume \(volume) does not answer, though it was made: try again")
        }
        return device
    }

    /// Ends the device. Nothing where there is none; throws where it is still there afterwards.
    func remove(_ kind: HostDeviceKind, _ volume: VolumeID, uuid: String) async throws(NodeError) {
        switch kind {
        case .kernelNBD: try daemon.unexport(volume, as: volume.name, kind: "kernel-nbd")
        case .fuseLoop:
            let device = FUSELoopDevice(volume, uuid, settings)
            var isDead = false
            if let found = device.find() { isDead = try await !isAlive(found) }
            try await device.remove(programs, isDead: isDead)
            try daemon.unexport(volume, as: device.exportName, kind: "nbd")
        }
        if let left = find(kind, volume, uuid: uuid) {
            throw NodeError(.internal, "the volume \(volume) is still the device \(left.path): who uses it?")
        }
    }
}
