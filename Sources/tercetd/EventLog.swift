import Logging
import NVMeTarget

extension Logger {
    /// Writes what happened at the target.
    ///
    /// - Parameters:
    ///   - repeated: how often it has come since it was written last.
    ///   - hint: what may be behind it.
    func record(_ event: TargetEvent, repeated: Int = 0, hint: String? = nil) {
        var logger = self
        if repeated > 0 { logger[metadataKey: "repeated"] = "\(repeated)" }
        if let hint { logger[metadataKey: "hint"] = "\(hint)" }
        logger.write(event)
    }

    private func write(_ event: TargetEvent) {
        switch event {
        case .hostConnected(let host, let subsystem, let controller, let peer):
            info(
                "host connected",
                metadata: [
                    "host": "\(host)", "subsystem": "\(subsystem)", "controller": "\(controller)", "peer": "\(peer)",
                ])
        case .hostDisconnected(let host, let subsystem, let controller, let reason):
            info(
                "host disconnected",
                metadata: [
                    "host": "\(host)", "subsystem": "\(subsystem)", "controller": "\(controller)",
                    "reason": "\(reason)",
                ])
        case .connectHeld(let host, let subsystem, let controllers, let peer, let isRefused):
            warning(
                isRefused
                    ? "host told to try again: its earlier commands have not ended; does a disk hang?"
                    : "host waits to connect: its earlier commands have not ended",
                metadata: [
                    "host": "\(host)", "subsystem": "\(subsystem)", "peer": "\(peer)",
                    "controllers": "\(controllers.map(String.init).joined(separator: ", "))",
                ])
        case .connectRefused(let host, let subsystem, let peer, let reason):
            warning(
                "host refused",
                metadata: ["host": "\(host)", "subsystem": "\(subsystem)", "peer": "\(peer)", "reason": "\(reason)"])
        case .authenticationFailed(let host, let subsystem, let peer, let reason):
            warning(
                "host not authenticated",
                metadata: ["host": "\(host)", "subsystem": "\(subsystem)", "peer": "\(peer)", "reason": "\(reason)"])
        case .connectionRefused(let peer, let reason):
            warning("connection refused", metadata: ["peer": "\(peer)", "reason": "\(reason)"])
        case .queuePairFailed(let peer, let reason):
            warning("queue pair failed", metadata: ["peer": "\(peer)", "reason": "\(reason)"])
        case .namespaceChanged(let subsystem, let nsid, let blockCount):
            notice(
                blockCount == 0 ? "namespace vanished" : "namespace changed its size",
                metadata: ["subsystem": "\(subsystem)", "nsid": "\(nsid)", "blocks": "\(blockCount)"])
        case .namespaceFailed(let subsystem, let nsid, let reason):
            error(
                "namespace cannot be served",
                metadata: ["subsystem": "\(subsystem)", "nsid": "\(nsid)", "reason": "\(reason)"])
        case .namespaceAdded(let subsystem, let nsid, let device, let blockCount, let blockSize):
            info(
                "namespace exported",
                metadata: [
                    "subsystem": "\(subsystem)", "nsid": "\(nsid)", "device": "\(device)", "blocks": "\(blockCount)",
                    "blockSize": "\(blockSize)",
                ])
        case .deviceRemark(let remark): warning("\(remark)")
        case .listening(let address): info("listening", metadata: ["address": "\(address)"])
        case .stoppedListening(let address): info("no longer listening", metadata: ["address": "\(address)"])
        case .listenerLost(let address):
            error("listener lost: its device or address is gone", metadata: ["address": "\(address)"])
        }
    }
}
