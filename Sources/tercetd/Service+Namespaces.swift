import Base
import BlockInterface
import Glibc
import Logging
import NVMeTarget
import TargetInterface

/// A namespace, as the log names it.
struct NamespaceKey: Hashable {
    var subsystem: String
    var nsid: UInt32
}

/// The last report of a namespace's failures.
struct FailureReport {
    var failures: DeviceFailures
    /// Looks at the devices since then; one each second.
    var looks = 0
}

/// Namespaces and their devices.
extension Service {
    /// While a device goes on failing, how often that is said, in looks at it.
    private static let looksBetweenReports = 60
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
        for (subsystem, nsid, device) in target.devices {
            let found = device.failures
            guard found.count > 0 else { continue }
            let key = NamespaceKey(subsystem: subsystem, nsid: nsid)
            var report = failures[key] ?? FailureReport(failures: DeviceFailures(), looks: Self.looksBetweenReports)
            report.looks += 1
            if found.count > report.failures.count, report.looks > Self.looksBetweenReports {
                logger.error(
                    "I/O of a namespace fails",
                    metadata: [
                        "subsystem": "\(subsystem)", "nsid": "\(nsid)", "device": "\(device.name)",
                        "error": "\(String(cString: strerror(found.lastError)))", "errno": "\(found.lastError)",
                        "failed": "\(found.count - report.failures.count)", "failedInAll": "\(found.count)",
                    ])
                report = FailureReport(failures: found)
            }
            failures[key] = report
        }
    }
}
