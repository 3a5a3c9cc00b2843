import Dispatch
import DurableFiles
import Foundation
import NVMeSpec
import TargetInterface

/// Keeps each namespace's reservation in a file of its own.
struct FileReservationStore: ReservationStore {
    let folder: String
    private let queue = DispatchQueue(label: "reservations")

    init(folder: String) { self.folder = folder }

    func load(subsystem: String, nsid: UInt32) throws -> [UInt8]? {
        try FileContents.read(path(subsystem, nsid), isOwn: true)
    }

    func save(
        _ bytes: (@Sendable () -> [UInt8])?, subsystem: String, nsid: UInt32,
        completion: @escaping @Sendable (String?) -> Void
    ) {
        queue.async { completion(DurableFile.replace(path(subsystem, nsid), in: folder, with: bytes?())) }
    }

    /// A name that any NQN can have: it may contain slashes.
    private func path(_ subsystem: String, _ nsid: UInt32) -> String {
        let allowed = CharacterSet.alphanumerics.union(CharacterSet(charactersIn: "-._:"))
        let name = subsystem.addingPercentEncoding(withAllowedCharacters: allowed) ?? subsystem
        return "\(folder)/\(name).\(nsid).reservation"
    }
}
