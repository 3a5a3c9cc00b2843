import Base
import BlockInterface
import FabricInterface
import NVMeSpec
import Synchronization

/// Get Features and Set Features (NVMe Base, "Feature Identifiers").
extension PollGroup {
    func setFeatures(_ index: UInt32, _ command: SetFeaturesCommand, _ controller: Controller, in group: DeviceGroup) {
        guard !command.saves else { return fail(index, .featureIdentifierNotSaveable.doNotRetry, in: group) }
        // A discovery controller has the features that its asynchronous events and its timer need.
        guard !controller.isDiscovery || PollGroup.discoveryFeatures.contains(command.feature) else {
            return fail(index, .invalidField.doNotRetry, in: group)
        }
        switch command.feature {
        case .numberOfQueues:
            let asked = NumberOfQueues(rawValue: command.value)
            // FFFFh in either half is invalid (NVMe Base, "Number of Queues").
            guard asked.submission <= 0xFFFF, asked.completion <= 0xFFFF else {
                return fail(index, .invalidField.doNotRetry, in: group)
            }
            let limit = controller.subsystem.definition.maxIOQueues
            let granted = min(
                asked.submission, asked.completion, target.options.maxIOQueues, limit > 0 ? limit : Int.max)
            let isTooLate = controller.state.withLock { state in
                if !state.ioQueues.isEmpty { return true }
                state.grantedIOQueues = granted
                return false
            }
            guard !isTooLate else { return fail(index, .commandSequenceError.doNotRetry, in: group) }
            group.requests[index].pointee.result =
                UInt64(NumberOfQueues(submission: granted, completion: granted).rawValue)
        case .asyncEventConfiguration:
            let asked = AsyncEventConfiguration(rawValue: command.value)
            let offered = PollGroup.offeredEvents(isDiscovery: controller.isDiscovery)
            guard asked.isSubset(of: offered.union([.spare, .temperature, .degraded, .readOnly, .volatileBackup]))
            else {
                return fail(index, .invalidField.doNotRetry, in: group)
            }
            controller.state.withLock { $0.asyncEventConfiguration = asked }
        case .keepAliveTimer:
            guard command.value <= target.options.maxKeepAliveMilliseconds else {
                return fail(index, .keepAliveTimeoutInvalid.doNotRetry, in: group)
            }
            controller.heard(at: now)
            controller.state.withLock { $0.keepAliveMilliseconds = command.value }
        case .volatileWriteCache:
            guard hasVolatileWriteCache(controller.subsystem) else {
                return fail(index, .invalidField.doNotRetry, in: group)
            }
            // The device's cache cannot be switched off from here; a host that wants durability flushes or uses FUA.
            guard command.value & 1 == 1 else { return fail(index, .featureNotChangeable.doNotRetry, in: group) }
        case .arbitration, .powerManagement, .temperatureThreshold, .errorRecovery, .interruptCoalescing,
            .interruptVectorConfiguration, .writeAtomicity:
            controller.state.withLock { $0.features[command.feature] = command.value }
        case .reservationNotificationMask:
            return setReservationMask(
                index, ReservationNotificationMask(rawValue: command.value), controller, in: group)
        case .hostBehaviorSupport:
            // Its data says which behaviours the host can take; none of them is used here.
            break
        case .hostIdentifier:
            // Fabrics hosts say it in Connect (NVMe Base, "Host Identifier").
            return fail(index, .commandSequenceError.doNotRetry, in: group)
        default:
            return fail(index, .invalidField.doNotRetry, in: group)
        }
        group.answer(index, .success)
    }

    func getFeatures(_ index: UInt32, _ command: GetFeaturesCommand, _ controller: Controller, in group: DeviceGroup) {
        guard !controller.isDiscovery || PollGroup.discoveryFeatures.contains(command.feature) else {
            return fail(index, .invalidField.doNotRetry, in: group)
        }
        if command.select == .supportedCapabilities {
            guard PollGroup.knownFeatures.contains(command.feature) else {
                return fail(index, .invalidField.doNotRetry, in: group)
            }
            group.requests[index].pointee.result =
                PollGroup.changeableFeatures.contains(command.feature)
                ? UInt64(FeatureCapabilities.changeable.rawValue) : 0
            return group.answer(index, .success)
        }
        let nsid = group.requests[index].pointee.command.nsid
        let result: UInt32?
        switch command.feature {
        case .numberOfQueues:
            let granted = controller.state.withLock { $0.grantedIOQueues }
            let count = granted > 0 ? granted : target.options.maxIOQueues
            result = NumberOfQueues(submission: count, completion: count).rawValue
        case .asyncEventConfiguration: result = controller.state.withLock { $0.asyncEventConfiguration.rawValue }
        case .keepAliveTimer: result = controller.state.withLock { $0.keepAliveMilliseconds }
        case .volatileWriteCache:
            result = hasVolatileWriteCache(controller.subsystem) ? VolatileWriteCacheFeature.enabled.rawValue : nil
        case .arbitration, .powerManagement, .temperatureThreshold, .errorRecovery, .interruptCoalescing,
            .interruptVectorConfiguration, .writeAtomicity:
            result = controller.state.withLock { $0.features[command.feature] ?? 0 }
        case .hostIdentifier:
            guard command.value & HostIdentifierFeature.extended.rawValue != 0 else {
                return fail(index, .invalidField.doNotRetry, in: group)
            }
            return answerWithData(index, length: UUIDBytes.byteCount, in: group) { buffer in
                if let base = buffer.baseAddress { controller.hostID.store(to: base) }
            }
        case .hostBehaviorSupport:
            return answerWithData(index, length: HostBehaviorSupport.byteCount, in: group) { buffer in
                HostBehaviorSupport().encode(into: buffer)
            }
        case .reservationNotificationMask:
            result = controller.state.withLock { $0.reservationMasks[nsid]?.rawValue ?? 0 }
        case .reservationPersistence:
            guard let namespace = controller.subsystem.namespace(nsid) else {
                return fail(index, .invalidNamespaceOrFormat.doNotRetry, in: group)
            }
            result = namespace.reservation.withLock { $0.current.persistsThroughPowerLoss } ? 1 : 0
        default: result = nil
        }
        guard let result else { return fail(index, .invalidField.doNotRetry, in: group) }
        group.requests[index].pointee.result = UInt64(result)
        group.answer(index, .success)
    }

    private func setReservationMask(
        _ index: UInt32, _ mask: ReservationNotificationMask, _ controller: Controller, in group: DeviceGroup
    ) {
        let nsid = group.requests[index].pointee.command.nsid
        let namespaces = nsid == 0xFFFF_FFFF ? controller.subsystem.namespaces.map(\.nsid) : [nsid]
        guard namespaces.allSatisfy({ controller.subsystem.namespace($0) != nil }) else {
            return fail(index, .invalidNamespaceOrFormat.doNotRetry, in: group)
        }
        controller.state.withLock { state in
            for nsid in namespaces { state.reservationMasks[nsid] = mask }
        }
        group.answer(index, .success)
    }

    func hasVolatileWriteCache(_ subsystem: Subsystem) -> Bool {
        subsystem.namespaces.contains { $0.geometry.hasVolatileWriteCache }
    }

    /// The asynchronous events that a controller offers: Identify Controller OAES.
    static func offeredEvents(isDiscovery: Bool) -> AsyncEventConfiguration {
        isDiscovery ? [.discoveryLog] : [.namespaceAttribute, .anaChange]
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
