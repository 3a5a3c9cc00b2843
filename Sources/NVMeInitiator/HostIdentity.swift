import Base
import Foundation
import NVMeSpec

/// This host's identity to targets: from the system's files (/etc/nvme), or made for this run.
public struct HostIdentity {
    public var nqn: String
    public var id: UUIDBytes

    public init(nqn: String?, id: UUIDBytes?) {
        let fallback = UUIDBytes.random()
        let fileNQN = HostIdentity.line("/etc/nvme/hostnqn").flatMap { name -> String? in
            do throws(InvalidNQN) { try NQN.validate(name) } catch { return error.isOfForm ? name : nil }
            return name
        }
        self.nqn = nqn ?? fileNQN ?? NQN.uuid(fallback)
        // A host NQN made from a UUID goes with that UUID, so that a target sees one host.
        let fromName =
            self.nqn.hasPrefix(NQN.uuidPrefix) ? UUIDBytes(String(self.nqn.dropFirst(NQN.uuidPrefix.count))) : nil
        self.id = id ?? HostIdentity.line("/etc/nvme/hostid").flatMap { UUIDBytes($0) } ?? fromName ?? fallback
    }

    /// A host that nobody has been before.
    public static func fresh() -> HostIdentity {
        let id = UUIDBytes.random()
        return HostIdentity(nqn: NQN.uuid(id), id: id)
    }

    private static func line(_ path: String) -> String? {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return nil }
        let line = text.trimmingCharacters(in: .whitespacesAndNewlines)
        return line.isEmpty ? nil : line
    }
}
