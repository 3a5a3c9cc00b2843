import Base
import BlockBackend
import BlockInterface
import Glibc
import Logging
import NVMeTarget
import TargetConfiguration

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
    /// How long to wait for a device that is being closed, in seconds: what runs on it has to end.
    private static let closingSeconds = 5.0

    /// Adds namespaces. Those that cannot be added are missing.
    func add(_ namespaces: [ExportedNamespace], to nqn: String) async {
        for namespace in namespaces {
            // One that was removed a moment ago stays open until every reactor has ended what runs on it.
            if let closing = closings[namespace.backing.backing] {
                _ = await closing.wait(seconds: Self.closingSeconds)
            }
            attempt(.namespace(namespace.nsid, subsystem: nqn)) { () throws(ServiceError) in
                try add(namespace, to: nqn)
            }
        }
    }

    private func add(_ namespace: ExportedNamespace, to nqn: String) throws(ServiceError) {
        do {
            let device = try namespace.backing.open()
            if let closing = device.closing { closings[namespace.backing.backing] = closing }
            for remark in device.remarks { logger.warning("\(remark)") }
            let identity = namespace.identity(inSubsystem: nqn, device: device.identity, seed: seed)
            try target.addNamespace(
                NamespaceDefinition(
                    nsid: namespace.nsid, device: device, identity: identity, anaGroup: namespace.anaGroup,
                    store: store), to: nqn)
            logger.info(
                "namespace exported",
                metadata: [
                    "subsystem": "\(nqn)", "nsid": "\(namespace.nsid)", "device": "\(device.name)",
                    "blocks": "\(device.geometry.blockCount)", "blockSize": "\(device.geometry.blockSize)",
                ])
        } catch let error as TercetError {
            throw ServiceError(description: error.description)
        } catch {
            throw ServiceError(description: "\(error)")
        }
    }

    /// Removes a namespace, and returns when every reactor knows.
    func remove(_ nsid: UInt32, from nqn: String) async {
        failures[NamespaceKey(subsystem: nqn, nsid: nsid)] = nil
        guard attempt({ () throws(TargetError) in try target.removeNamespace(nsid, from: nqn) }) else { return }
        await target.settled()
    }

    /// Namespaces whose devices have vanished or fail, and that can be opened anew as `configuration` says: the device is
    /// back, or another one is in its place. Others are left alone: to remove them would cut hosts off for nothing.
    func returnedNamespaces(_ configuration: Configuration) -> [MissingPart] {
        refresh()
        // A file that fails has our own lock on it: it can be had when that is closed.
        let stale = target.staleNamespaces.filter { stale in
            configuration.subsystems.contains { subsystem in
                subsystem.nqn == stale.subsystem && subsystem.namespaces.contains { $0.nsid == stale.nsid }
            }
        }
        let staleParts = stale.map { MissingPart.namespace($0.nsid, subsystem: $0.subsystem) }
        return staleParts
            + target.vanishedNamespaces.compactMap { lost in
                let namespace = configuration.subsystems.first { $0.nqn == lost.subsystem }?
                    .namespaces.first { $0.nsid == lost.nsid }
                guard let namespace else { return nil }
                let part = MissingPart.namespace(lost.nsid, subsystem: lost.subsystem)
                do throws(TercetError) { _ = try namespace.backing.open() } catch {
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
