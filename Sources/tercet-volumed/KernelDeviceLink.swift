import Base
import ControlPlane
import DurableFiles
import Foundation
import Glibc

/// The state of a kernel's block device that the next daemon has to know, should this one die.
struct KernelDeviceState: Codable, Equatable {
    /// N of `/dev/nbdN`, or of `/dev/ublkbN`.
    var index: Int32
    /// The reservation key of the volume's attachment that served it last; 0 for a device of this machine.
    var attachment: UInt64
    /// As `AttachmentTrail` has them.
    var attempts: [UInt32] = []

    private var trail: AttachmentTrail { AttachmentTrail(attachment: attachment, attempts: attempts) }

    /// Whether nobody else has written since, so that what the system has cached of the device is still true.
    func isContinued(from predecessor: UInt64) -> Bool { trail.isContinued(from: predecessor) }

    mutating func noteAttempt(_ nonce: UInt32) {
        var trail = trail
        trail.noteAttempt(nonce)
        attempts = trail.attempts
    }
}

/// The name under which an export's block device is always found, and the state beside it. Both are in a folder that is gone
/// when the machine is started anew, as the devices are.
struct KernelDeviceLink {
    let path: String
    private let statePath: String
    private let folder: String

    /// - Parameter name: of the export: a file is called so.
    init(folder: String, name: String) throws(TercetError) {
        guard FileNames.allow(name) else {
            throw TercetError(
                .invalid,
                "\"\(name)\" cannot be the name of a block device; allowed: letters, digits, '.', '_' and '-', not beginning with '.'"
            )
        }
        self.folder = folder
        path = "\(folder)/\(name)"
        statePath = "\(folder)/.\(name).json"
    }

    /// The state; `nil` where there is none.
    var state: KernelDeviceState? {
        guard let bytes = try? FileContents.read(statePath, isOwn: true) else { return nil }
        return try? JSONDecoder().decode(KernelDeviceState.self, from: Data(bytes))
    }

    /// Writes the state, and then points the name at the device. Each is there whole or not at all.
    func write(_ state: KernelDeviceState, device: String) throws(TercetError) {
        try save(state)
        let fresh = "\(folder)/.\((path as NSString).lastPathComponent).link"
        unlink(fresh)
        guard symlink(device, fresh) == 0, rename(fresh, path) == 0 else {
            throw problem("\(path) cannot be made", errno)
        }
    }

    /// Notes an attachment that is about to be made. Nothing where the name has no device yet.
    func noteAttempt(_ nonce: UInt32) throws(TercetError) {
        guard var state else { return }
        state.noteAttempt(nonce)
        try save(state)
    }

    private func save(_ state: KernelDeviceState) throws(TercetError) {
        let bytes: Data
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            bytes = try JSONEncoder().encode(state)
        } catch {
            throw TercetError(.failed, "\(statePath) cannot be written", cause: error)
        }
        if let problem = DurableFile.replace(statePath, in: folder, with: [UInt8](bytes)) {
            throw TercetError(.failed, "\(statePath) cannot be written: \(problem)")
        }
    }

    /// Removes both.
    func remove() {
        unlink(path)
        unlink(statePath)
    }

    private func problem(_ text: String, _ code: Int32) -> TercetError {
        TercetError(call: text, errno: code, reason: String(cString: strerror(code)))
    }
}
