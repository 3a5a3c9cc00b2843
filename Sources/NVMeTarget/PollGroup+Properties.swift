import Base
import NVMeSpec
import Synchronization

/// Property Get and Set: the registers of a fabrics controller (NVMe-oF, "Property Get Command", "Property Set
/// Command").
extension PollGroup {
    func propertyGet(_ command: PropertyGetCommand, _ request: RequestReference) {
        guard let controller = controller(of: request) else {
            return fail(request, .commandSequenceError)
        }
        guard let property = Property(rawValue: command.offset) else {
            // Reserved properties and those of other transports read as zero: nvme-cli's show-regs asks for all of them.
            request.setResult(0)
            return request.answer(.success)
        }
        guard property.byteCount == command.size.byteCount else {
            return fail(request, .invalidField)
        }
        let value: UInt64 = controller.state.withLock { state in
            switch property {
            case .capabilities: capabilities.rawValue
            case .version: UInt64(PollGroup.version.rawValue)
            case .configuration: UInt64(state.configuration.rawValue)
            case .status: UInt64(state.status.rawValue)
            case .readyTimeouts:
                UInt64(
                    ControllerReadyTimeouts(withMedia: PollGroup.timeout, independentOfMedia: PollGroup.timeout)
                        .rawValue)
            case .subsystemReset: 0
            }
        }
        request.setResult(value)
        request.answer(.success)
    }

    func propertySet(_ command: PropertySetCommand, _ request: RequestReference) {
        guard let controller = controller(of: request), request.role == .admin else {
            return fail(request, .commandSequenceError)
        }
        guard Property(rawValue: command.offset) == .configuration, command.size == .fourBytes else {
            return fail(request, .invalidField)
        }
        let configuration = ControllerConfiguration(rawValue: UInt32(truncatingIfNeeded: command.value))
        guard let orphans = controller.configure(configuration) else {
            return fail(request, .commandSequenceError)
        }
        for queue in orphans { target.group(queue.group).closeQueue(queue) }
        request.answer(.success)
    }

    /// The specification that the controllers follow.
    static let version = SpecificationVersion(major: 1, minor: 4)
    /// CAP.TO and CRTO, in units of 500 ms: enabling a controller takes no time here.
    static let timeout: UInt16 = 30

    /// What the controllers of this target can do (NVMe Base, "Controller Capabilities").
    var capabilities: ControllerCapabilities {
        ControllerCapabilities(
            queueEntries: target.options.queueDepth, timeoutMilliseconds: Int(PollGroup.timeout) * 500)
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
