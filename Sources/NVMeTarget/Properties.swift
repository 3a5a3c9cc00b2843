import Base
import NVMeSpec
import Synchronization
import TargetInterface

/// Property Get and Set: the registers of a fabrics controller (NVMe-oF, "Property Get Command", "Property Set
/// Command").
struct Properties {
    let target: Target

    func reply(to command: PropertyGetCommand, _ request: ControlRequest) -> ControlReply {
        guard let property = Property(rawValue: command.offset) else {
            // Reserved properties and those of other transports read as zero: nvme-cli's show-regs asks for all of them.
            return .result(0)
        }
        guard property.byteCount == command.size.byteCount else {
            return .refused(.invalidField)
        }
        let value: UInt64 = request.controller.state.withLock { state in
            switch property {
            case .capabilities: capabilities.rawValue
            case .version: UInt64(ControllerFacts.version.rawValue)
            case .configuration: UInt64(state.configuration.rawValue)
            case .status: UInt64(state.status.rawValue)
            case .readyTimeouts:
                UInt64(
                    ControllerReadyTimeouts(
                        withMedia: ControllerFacts.timeout, independentOfMedia: ControllerFacts.timeout
                    )
                    .rawValue)
            case .subsystemReset: 0
            }
        }
        return .result(value)
    }

    func reply(to command: PropertySetCommand, _ request: ControlRequest) -> ControlReply {
        guard request.reference.queue.role == .admin else {
            return .refused(.commandSequenceError)
        }
        guard Property(rawValue: command.offset) == .configuration, command.size == .fourBytes else {
            return .refused(.invalidField)
        }
        let configuration = ControllerConfiguration(rawValue: UInt32(truncatingIfNeeded: command.value))
        guard let orphans = request.controller.configure(configuration) else {
            return .refused(.commandSequenceError)
        }
        for queue in orphans { target.close(queue) }
        return .done
    }

    /// Capabilities of this target's controllers (NVMe Base, "Controller Capabilities").
    private var capabilities: ControllerCapabilities {
        ControllerCapabilities(
            queueEntries: target.options.queueDepth, timeoutMilliseconds: Int(ControllerFacts.timeout) * 500)
    }
}

extension Controller {
    /// Takes on a new CC and returns the I/O queues that must be closed for it (NVMe Base, "Controller Configuration";
    /// NVMe-oF, "Controller Initialization and Shutdown"). `nil` where the host sets EN although the reset that it has begun
    /// is not over.
    func configure(_ new: ControllerConfiguration) -> [QueueLocation]? {
        state.withLock { state in
            if state.isResetting && new.isEnabled { return nil }
            let old = state.configuration
            state.configuration = new
            var orphans: [QueueLocation] = []
            if new.isEnabled && !old.isEnabled {
                let isValid =
                    new.memoryPageSize == 0 && new.arbitrationMechanism == 0
                    && (new.commandSet == 0 || new.commandSet == 6)
                    && (isDiscovery || (new.ioSubmissionEntrySize == 6 && new.ioCompletionEntrySize == 4))
                state.status = ControllerStatus(rawValue: 0)
                if isValid { state.status.isReady = true } else { state.status.isFatal = true }
            } else if !new.isEnabled && old.isEnabled {
                // Controller reset: I/O queues end, the association and its admin queue stay. It is over when the queues'
                // commands are, for one of them could land after what the host writes next.
                orphans = state.ioQueuesInOrder
                state.ioQueues = [:]
                state.grantedIOQueues = 0
                state.asyncEventConfiguration = []
                let wasReady = state.status.isReady
                state.status = ControllerStatus(rawValue: 0)
                state.status.isReady = wasReady
                state.isResetting = true
                state.finishReset()
            }
            if new.shutdownNotification != .none && old.shutdownNotification == .none {
                // Nothing is cached here that a host has not asked to be flushed itself: shutdown takes no time.
                state.status.shutdownStatus = .complete
            }
            return orphans
        }
    }
}
