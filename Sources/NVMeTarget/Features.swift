import Base
import BlockInterface
import NVMeSpec
import Synchronization
import TargetInterface

/// Get Features and Set Features (NVMe Base, "Feature Identifiers").
struct Features {
    let target: Target

    func reply(to command: SetFeaturesCommand, _ request: ControlRequest) -> ControlReply {
        let controller = request.controller
        guard !command.saves else { return .refused(.featureIdentifierNotSaveable) }
        // A discovery controller has the features that its asynchronous events and its timer need.
        guard !controller.isDiscovery || Self.discoveryFeatures.contains(command.feature) else {
            return .refused(.invalidField)
        }
        switch command.feature {
        case .numberOfQueues:
            let asked = NumberOfQueues(rawValue: command.value)
            // FFFFh in either half is invalid (NVMe Base, "Number of Queues").
            guard asked.submission <= 0xFFFF, asked.completion <= 0xFFFF else {
                return .refused(.invalidField)
            }
            let limit = controller.subsystem.definition.maxIOQueues ?? .max
            let granted = min(asked.submission, asked.completion, target.options.maxIOQueues, limit)
            let isTooLate = controller.state.withLock { state in
                if !state.ioQueues.isEmpty { return true }
                state.grantedIOQueues = granted
                return false
            }
            guard !isTooLate else { return .refused(.commandSequenceError) }
            return .result(UInt64(NumberOfQueues(submission: granted, completion: granted).rawValue))
        case .asyncEventConfiguration:
            let asked = AsyncEventConfiguration(rawValue: command.value)
            let offered = ControllerFacts.offeredEvents(isDiscovery: controller.isDiscovery)
            guard asked.isSubset(of: offered.union([.spare, .temperature, .degraded, .readOnly, .volatileBackup]))
            else {
                return .refused(.invalidField)
            }
            controller.state.withLock { $0.asyncEventConfiguration = asked }
        case .keepAliveTimer:
            guard command.value <= target.options.maxKeepAliveMilliseconds else {
                return .refused(.keepAliveTimeoutInvalid)
            }
            controller.heard(at: request.now)
            controller.state.withLock { $0.keepAliveMilliseconds = command.value }
        case .volatileWriteCache:
            guard controller.subsystem.hasVolatileWriteCache else {
                return .refused(.invalidField)
            }
            // The device's cache cannot be switched off from here; a host that wants durability flushes or uses FUA.
            guard command.value & 1 == 1 else { return .refused(.featureNotChangeable) }
        case .arbitration, .powerManagement, .temperatureThreshold, .errorRecovery, .interruptCoalescing,
            .interruptVectorConfiguration, .writeAtomicity:
            controller.state.withLock { $0.features[command.feature] = command.value }
        case .reservationNotificationMask:
            return setReservationMask(ReservationNotificationMask(rawValue: command.value), request)
        case .hostBehaviorSupport:
            // Its data says which behaviours the host can take; none of them is used here.
            break
        case .hostIdentifier:
            // Fabrics hosts say it in Connect (NVMe Base, "Host Identifier").
            return .refused(.commandSequenceError)
        default:
            return .refused(.invalidField)
        }
        return .done
    }

    func reply(to command: GetFeaturesCommand, _ request: ControlRequest) -> ControlReply {
        let controller = request.controller
        guard !controller.isDiscovery || Self.discoveryFeatures.contains(command.feature) else {
            return .refused(.invalidField)
        }
        if command.select == .supportedCapabilities {
            guard Self.knownFeatures.contains(command.feature) else {
                return .refused(.invalidField)
            }
            let isChangeable = Self.changeableFeatures.contains(command.feature)
            return .result(isChangeable ? UInt64(FeatureCapabilities.changeable.rawValue) : 0)
        }
        let nsid = request.nsid
        let result: UInt32?
        switch command.feature {
        case .numberOfQueues:
            let granted = controller.state.withLock { $0.grantedIOQueues }
            let count = granted > 0 ? granted : target.options.maxIOQueues
            result = NumberOfQueues(submission: count, completion: count).rawValue
        case .asyncEventConfiguration: result = controller.state.withLock { $0.asyncEventConfiguration.rawValue }
        case .keepAliveTimer: result = controller.state.withLock { $0.keepAliveMilliseconds }
        case .volatileWriteCache:
            result = controller.subsystem.hasVolatileWriteCache ? VolatileWriteCacheFeature.enabled.rawValue : nil
        case .arbitration, .powerManagement, .temperatureThreshold, .errorRecovery, .interruptCoalescing,
            .interruptVectorConfiguration, .writeAtomicity:
            result = controller.state.withLock { $0.features[command.feature] ?? 0 }
        case .hostIdentifier:
            guard command.value & HostIdentifierFeature.extended.rawValue != 0 else {
                return .refused(.invalidField)
            }
            return .page(DataPage(controller.hostID.bytes), offset: 0, length: UUIDBytes.byteCount)
        case .hostBehaviorSupport:
            return .page(
                DataPage(HostBehaviorSupport().encoded), offset: 0, length: HostBehaviorSupport.byteCount)
        case .reservationNotificationMask:
            let namespace = controller.subsystem.namespace(nsid)
            result = controller.state.withLock {
                $0.masks.mask(of: nsid, instance: namespace?.instance ?? .max).rawValue
            }
        case .reservationPersistence:
            guard let namespace = controller.subsystem.namespace(nsid) else {
                return .refused(.invalidNamespaceOrFormat)
            }
            result = namespace.reservation.withLock { $0.current.persistsThroughPowerLoss } ? 1 : 0
        default: result = nil
        }
        guard let result else { return .refused(.invalidField) }
        return .result(UInt64(result))
    }

    private func setReservationMask(_ mask: ReservationNotificationMask, _ request: ControlRequest) -> ControlReply {
        let controller = request.controller
        let nsid = request.nsid
        if nsid == 0xFFFF_FFFF {
            let last = target.lastInstance
            controller.state.withLock { $0.masks.setAll(mask, upTo: last) }
        } else {
            guard controller.subsystem.namespace(nsid) != nil else { return .refused(.invalidNamespaceOrFormat) }
            controller.state.withLock { $0.masks.set(mask, of: nsid) }
        }
        return .done
    }

    private static let discoveryFeatures: Set<FeatureID> = [.asyncEventConfiguration, .keepAliveTimer]
    private static let changeableFeatures: Set<FeatureID> = [
        .arbitration, .powerManagement, .temperatureThreshold, .errorRecovery, .interruptCoalescing,
        .interruptVectorConfiguration, .writeAtomicity, .numberOfQueues, .asyncEventConfiguration, .keepAliveTimer,
        .hostBehaviorSupport, .reservationNotificationMask,
    ]
    private static let knownFeatures = changeableFeatures.union([
        .volatileWriteCache, .hostIdentifier, .reservationPersistence,
    ])
}
