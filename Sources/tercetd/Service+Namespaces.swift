import Base
import BlockInterface
import Glibc
import Logging
import NVMeTarget
import Repetition
import TargetInterface

/// A namespace, as the log names it.
struct NamespaceKey: Hashable {
    var subsystem: String
    var nsid: UInt32
}

/// Namespaces and their devices.
extension Service {
    /// Namespaces whose devices have vanished or fail, and that can be opened anew as `configuration` says: the device is
    /// back, or another one is in its place. Others are left alone: to remove them would cut hosts off for nothing.
    func returnedNamespaces(_ definition: TargetDefinition) -> [TargetPart] {
        refresh()
        // A file that fails has our own lock on it: it can be had when that is closed.
        let stale = target.staleNamespaces.filter { stale in
            definition[stale.subsystem]?.namespaces.contains { $0.nsid == stale.nsid } == true
        }
        let staleParts = stale.map { TargetPart.namespace($0.nsid, subsystem: $0.subsystem) }
        return staleParts
            + target.vanishedNamespaces.compactMap { lost in
                let namespace = definition[lost.subsystem]?.namespaces.first { $0.nsid == lost.nsid }
                guard case .specified(let specification)? = namespace?.backing else { return nil }
                let part = TargetPart.namespace(lost.nsid, subsystem: lost.subsystem)
                do throws(TercetError) { _ = try surroundings.open(specification) } catch {
                    logger.error("reload: \(part) has vanished: \(error)")
                    return nil
                }
                return part
            }
    }

    /// Says which namespaces' devices fail: at once, and while they go on once in a while, with how often.
    func reportFailures() {
        let failing = target.devices.compactMap { subsystem, nsid, device in
            let found = device.failures
            return found.count > 0 ? (NamespaceKey(subsystem: subsystem, nsid: nsid), device.name, found) : nil
        }
        let growth = failures.look(at: Dictionary(failing.map { ($0.0, $0.2.count) }) { max($0, $1) })
        for (key, device, found) in failing {
            guard let grown = growth[key] else { continue }
            logger.error(
                "I/O of a namespace fails",
                metadata: [
                    "subsystem": "\(key.subsystem)", "nsid": "\(key.nsid)", "device": "\(device)",
                    "error": "\(String(cString: strerror(found.lastError)))", "errno": "\(found.lastError)",
                    "failed": "\(grown)", "failedInAll": "\(found.count)",
                ])
        }
    }
}
