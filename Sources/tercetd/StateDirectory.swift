import Base
import CLinux
import DurableFiles
import Glibc
import TargetConfiguration

/// The folder for what must outlive the daemon. One daemon has it at a time: two would take each other's reservations and
/// identifiers for their own.
final class StateDirectory: Sendable {
    let path: String
    /// The folder, open and locked until the process ends.
    private let descriptor: Int32

    /// Makes the folder where it is not there, and takes it.
    init(path: String) throws(TercetError) {
        self.path = path
        if mkdir(path, 0o700) != 0 && errno != EEXIST {
            let failure = DurableFile.failure("mkdir", path)
            throw TercetError(failure.code, "the state directory cannot be made", cause: failure)
        }
        descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw Self.unusable(DurableFile.failure("open", path))
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            if errno == EWOULDBLOCK {
                throw TercetError(
                    .inUse, "the state directory \(path) is in use by another tercetd; each needs its own")
            }
            throw Self.unusable(DurableFile.failure("flock", path))
        }
        do throws(TercetError) { try TrustedPath.check(descriptor: descriptor, path, isOwn: true) } catch {
            throw Self.unusable(error)
        }
    }

    private static func unusable(_ failure: TercetError) -> TercetError {
        TercetError(failure.code, "the state directory cannot be used", cause: failure)
    }

    deinit { close(descriptor) }

    private var identityPath: String { "\(path)/identity" }

    /// The source of identifiers: made at random when the folder is first used, and kept.
    ///
    /// If the folder has been copied to another machine, or has moved there with its disk, another one is made: the first
    /// machine may still serve, and hosts would take both for one.
    /// - Returns: and what the operator should know.
    func identity(of machine: Machine) throws(TercetError) -> (kept: UUIDBytes, remarks: [String]) {
        var remarks: [String] = []
        if let stored = try FileContents.read(identityPath, isOwn: true) {
            guard let (kept, origin) = Self.parse(String(decoding: stored, as: UTF8.self)) else {
                throw TercetError(
                    .damaged, "\(identityPath): is damaged; restore it, or remove it: hosts then see other namespaces")
            }
            if !origin.differs(from: machine) { return (kept, []) }
            remarks.append(
                "\(identityPath) was made on another machine: other identifiers are made here, as that one may still serve; "
                    + "to keep those of before, give each namespace its 'uuid' and its 'nguid'")
        }
        let made = UUIDBytes.random()
        let text = """
            identity \(made)
            machine-id \(machine.machineID ?? "-")
            product-uuid \(machine.productUUID ?? "-")

            """
        if let problem = DurableFile.replace(identityPath, in: path, with: Array(text.utf8)) {
            throw TercetError(.failed, "the identity of the target cannot be kept: \(problem)")
        }
        return (made, remarks)
    }

    private static func parse(_ text: String) -> (UUIDBytes, Machine)? {
        var values: [Substring: String] = [:]
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: " ", maxSplits: 1)
            if parts.count == 2 { values[parts[0]] = String(parts[1]) }
        }
        guard let uuid = values["identity"].flatMap({ UUIDBytes($0) }), !uuid.isZero else { return nil }
        func known(_ key: Substring) -> String? { values[key] == "-" ? nil : values[key] }
        return (uuid, Machine(machineID: known("machine-id"), productUUID: known("product-uuid")))
    }
}
