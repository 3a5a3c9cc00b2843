import Dispatch
import Foundation
import NVMeSpec
import NVMeTarget

/// Keeps each namespace's reservation in a file of its own, replaced as a whole: after a power loss there is the old one
/// or the new one.
struct FileReservationStore: ReservationStore {
    let folder: String
    private let queue = DispatchQueue(label: "reservations")

    init(folder: String) { self.folder = folder }

    func load(subsystem: String, nsid: UInt32) throws -> [UInt8]? {
        let path = path(subsystem, nsid)
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            // Only this says that nothing was stored. A folder that cannot be searched or read says nothing.
            if errno == ENOENT { return nil }
            throw ServiceError(description: Self.problem("open", path))
        }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            if count == 0 { return bytes }
            if count > 0 {
                bytes += buffer[..<count]
            } else if errno != EINTR {
                throw ServiceError(description: Self.problem("read", path))
            }
        }
    }

    /// A system call that has failed just now, for people.
    private static func problem(_ call: String, _ path: String, _ code: Int32 = errno) -> String {
        "\(call) \(path): \(String(cString: strerror(code)))"
    }

    func save(
        _ bytes: [UInt8]?, subsystem: String, nsid: UInt32, completion: @escaping @Sendable (String?) -> Void
    ) {
        queue.async { completion(replace(path(subsystem, nsid), bytes)) }
    }

    /// A name that any NQN can have: it may contain slashes.
    private func path(_ subsystem: String, _ nsid: UInt32) -> String {
        let allowed = CharacterSet.alphanumerics.union(CharacterSet(charactersIn: "-._:"))
        let name = subsystem.addingPercentEncoding(withAllowedCharacters: allowed) ?? subsystem
        return "\(folder)/\(name).\(nsid).reservation"
    }

    /// Writes beside the file, makes that durable, renames, and makes the renaming durable. Returns what went wrong.
    private func replace(_ path: String, _ bytes: [UInt8]?) -> String? {
        if mkdir(folder, 0o700) != 0 && errno != EEXIST { return Self.problem("mkdir", folder) }
        if let bytes {
            let new = path + ".new"
            let descriptor = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
            guard descriptor >= 0 else { return Self.problem("open", new) }
            let written = write(descriptor, bytes, bytes.count)
            let synced = written == bytes.count ? fsync(descriptor) : -1
            let failure = synced == 0 ? nil : Self.problem("write", new)
            close(descriptor)
            if let failure { return failure }
            if rename(new, path) != 0 { return Self.problem("rename", path) }
        } else if unlink(path) != 0 && errno != ENOENT {
            return Self.problem("unlink", path)
        }
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return Self.problem("open", folder) }
        defer { close(descriptor) }
        return fsync(descriptor) == 0 ? nil : Self.problem("fsync", folder)
    }
}
