import Foundation
import Glibc

/// A volume as a device of the kernel's NBD client. tercet-volumed names what is behind it, and points `/dev/tercet/NAME` at it.
struct KernelNBDDevice {
    private let volume: VolumeID
    private let uuid: String

    init(_ volume: VolumeID, _ uuid: String) {
        self.volume = volume
        self.uuid = uuid
    }

    /// Whether this kernel has an NBD client, loaded or to be loaded.
    static var isPossible: Bool {
        if access("/sys/module/nbd", F_OK) == 0 { return true }
        var name = utsname()
        guard uname(&name) == 0 else { return false }
        let release = withUnsafeBytes(of: name.release) { String(cString: $0.bindMemory(to: CChar.self).baseAddress!) }
        let modules = try? String(contentsOfFile: "/lib/modules/\(release)/modules.dep", encoding: .utf8)
        return modules?.contains("/nbd.ko") ?? false
    }

    /// The device, where the name leads to one and what is behind it is this volume.
    func find() -> HostDevice? {
        let path = "/dev/tercet/\(volume)"
        guard let number = HostPath.deviceNumber(path),
            let backend = try? String(
                contentsOfFile: "/sys/dev/block/\(number.major):\(number.minor)/backend", encoding: .utf8),
            isBackend(backend.trimmingCharacters(in: .whitespacesAndNewlines))
        else { return nil }
        return HostDevice(kind: .kernelNBD, path: path, number: number)
    }

    /// Whether what is behind a device is the volume.
    func isBackend(_ text: String) -> Bool { text == "tercet:\(uuid):\(volume)" }
}
