import Base
import BlockInterface
import NVMeSpec
import Synchronization
import TargetInterface
import TargetTransport

/// The Identify command.
struct IdentifyPages {
    let target: Target

    func reply(to command: IdentifyCommand, _ request: ControlRequest) -> ControlReply {
        let nsid = request.nsid
        let controller = request.controller
        if controller.isDiscovery && command.structure != .controller {
            return .refused(.invalidField)
        }
        let needsCommandSet: Set<IdentifyStructure> = [
            .commandSetNamespace, .commandSetController, .commandSetActiveNamespaces,
        ]
        guard !needsCommandSet.contains(command.structure) || command.commandSet == .nvm else {
            return .refused(.invalidField)
        }
        let page: [UInt8]?
        switch command.structure {
        case .controller:
            var bytes = identifyController(controller, maxPieces: request.reference.maxPieces).encoded
            let omissions = target.options.omissions
            if !omissions.contains(.instances) {
                var abilities: TercetIdentity.Abilities = [.registrantPresence, .poolRequests]
                if !omissions.contains(.quiesce) { abilities.insert(.quiesce) }
                TercetIdentity(bootInstance: target.bootInstance, abilities: abilities).store(into: &bytes)
            }
            page = bytes
        case .activeNamespaces, .commandSetActiveNamespaces, .allocatedNamespaces:
            guard nsid < 0xFFFF_FFFE else { return .refused(.invalidNamespaceOrFormat.doNotRetry) }
            if command.structure == .allocatedNamespaces, let pool = controller.pool {
                page = NamespaceList(ascending: pool.namespaces(from: nsid + 1).lazy.map(\.nsid)).encoded
                break
            }
            let identifiers = controller.subsystem.state.withLock { $0.namespaces.identifiers(from: nsid + 1) }
            page = NamespaceList(ascending: identifiers).encoded
        case .commandSetController: page = commandSetController.encoded
        case .commandSets: page = IdentifyCommandSets().encoded
        case .controllers:
            let identifiers = controller.subsystem.state.withLock {
                $0.controllers.identifiers(from: command.controllerID)
            }
            page = ControllerList(ascending: identifiers).encoded
        case .namespace, .allocatedNamespace, .namespaceDescriptors, .commandSetNamespace, .independentNamespace,
            .namespaceControllers:
            if nsid == NamespaceManagementCommand.allNamespaces, command.structure == .namespace,
                let pool = controller.managedPool
            {
                page = IdentifyNamespace(commonTo: pool).encoded
                break
            }
            guard nsid >= 1, nsid <= UInt32(target.options.maxNamespaces) else {
                return .refused(.invalidNamespaceOrFormat.doNotRetry)
            }
            page = identifyNamespace(nsid, command.structure, controller)
        default: page = nil
        }
        guard let page else { return .refused(.invalidField) }
        return .page(DataPage(page), offset: 0, length: IdentifyStructure.byteCount)
    }

    /// The limits of commands without data: a Write Zeroes takes as many blocks as it can name, 2^16 of 512 bytes, where hosts
    /// would cut it to the size of transfers else (NVM Command Set, "Write Zeroes Size Limit": a power of two of 4 KiB
    /// pages). Ranges of Dataset Management have no limit.
    private var commandSetController: IdentifyNVMController {
        var page = IdentifyNVMController()
        page.writeZeroesSizeLimit = 13
        return page
    }

    private func identifyController(_ controller: Controller, maxPieces: Int) -> IdentifyController {
        let definition = controller.subsystem.definition
        let options = target.options
        var page = IdentifyController()
        page.serialNumber = definition.serialNumber ?? ""
        page.modelNumber = definition.modelNumber
        page.firmwareRevision = ControllerFacts.firmwareRevision
        page.maxDataTransferSize = UInt8((options.maxTransferSize / 4096).trailingZeroBitCount)
        page.controllerID = controller.id
        page.version = ControllerFacts.version
        page.attributes = [.extendedHostIdentifier]
        if !options.omissions.contains(.trafficBasedKeepAlive) { page.attributes.insert(.trafficBasedKeepAlive) }
        page.controllerType = controller.isDiscovery ? .discovery : .io
        page.asyncEventRequestLimit = UInt8(Limits.asyncEventRequests - 1)
        page.asyncEvents = ControllerFacts.offeredEvents(isDiscovery: controller.isDiscovery)
        // The timer restarts with every command, and a second is what hosts ask for at the least.
        page.keepAliveGranularity = 10
        page.maxOutstandingCommands = UInt16(options.queueDepth)
        page.logPageAttributes = [.extendedData]
        page.subsystemNQN = definition.nqn
        page.sglSupport = [.supported, .keyed]
        page.ioCommandCapsuleSize = UInt32(SubmissionEntry.byteCount / 16)
        if controller.isDiscovery {
            page.discoveryControllerType = 1
            return page
        }
        page.multiPath = [.multiplePorts, .multipleControllers, .anaReporting]
        page.abortCommandLimit = UInt8(Limits.abortCommands - 1)
        // One slot, read only: the firmware is the program itself.
        page.firmwareUpdates = 0b11
        page.logPageAttributes.insert(.commandEffects)
        page.errorLogPageEntries = UInt8(ErrorLog.capacity - 1)
        page.anaTransitionTime = 10
        page.anaCapabilities = [.optimized, .nonOptimized, .inaccessible, .persistentLoss, .change]
        page.anaGroupIDMax = UInt32(Limits.anaGroups)
        page.anaGroupCount = UInt32(Limits.anaGroups)
        page.namespaceCount = UInt32(options.maxNamespaces)
        page.maxAllowedNamespaces = UInt32(options.maxNamespaceCount)
        if let pool = definition.pool { page.note(pool, isManager: controller.managedPool != nil) }
        page.nvmCommands = [.compare, .datasetManagement, .writeZeroes, .verify]
        if !options.omissions.contains(.reservations) { page.nvmCommands.insert(.reservations) }
        // Bit 0: Compare and Write. ACWU stays 0, a block; namespaces say more.
        page.fusedOperations = 1
        page.volatileWriteCache =
            controller.subsystem.hasVolatileWriteCache
            ? [.present, .flushAllNotSupported] : [.flushAllNotSupported]
        if options.inCapsuleDataSize > 0 {
            page.sglSupport.insert(.offset)
            page.ioCommandCapsuleSize += UInt32(options.inCapsuleDataSize / 16)
        }
        page.maxSGLDescriptors = UInt8(clamping: maxPieces)
        page.fabricsCommands = 1
        return page
    }

    /// A structure of one namespace; all zeroes for one that is not there.
    private func identifyNamespace(_ nsid: UInt32, _ structure: IdentifyStructure, _ controller: Controller) -> [UInt8]?
    {
        guard let namespace = controller.subsystem.namespace(nsid) else {
            if let unattached = controller.pool?[nsid] {
                if structure == .allocatedNamespace { return IdentifyNamespace(unattached: unattached).encoded }
                if structure == .namespaceControllers { return ControllerList([]).encoded }
            }
            // NVMe Base: Identify Namespace of an inactive namespace is zeroes; the other structures have nothing to
            // say.
            return structure == .namespace || structure == .allocatedNamespace
                ? [UInt8](repeating: 0, count: IdentifyStructure.byteCount) : nil
        }
        let geometry = namespace.geometry
        let identity = namespace.definition.identity
        switch structure {
        case .namespace, .allocatedNamespace:
            var bytes = namespacePage(namespace, geometry).encoded
            if !target.options.omissions.contains(.instances) {
                TercetNamespaceIdentity(instance: namespace.cacheInstance, opening: namespace.instance)
                    .store(into: &bytes)
            }
            return bytes
        case .namespaceDescriptors:
            return NamespaceDescriptors(
                eui64: identity.eui64Value, nguid: identity.nguid.flatMap { UUIDBytes(bytes: $0) },
                uuid: identity.uuid.flatMap { UUIDBytes(bytes: $0) }, commandSet: .nvm
            ).encoded
        case .commandSetNamespace:
            return IdentifyNVMNamespace().encoded
        case .independentNamespace:
            var page = IdentifyIndependentNamespace()
            page.sharing = .shared
            page.reservations = reservationCapabilities(namespace)
            page.anaGroup = namespace.definition.anaGroup
            page.attributes = isWriteProtected(namespace, geometry) ? .writeProtected : []
            page.status = geometry.blockCount > 0 ? .ready : []
            return page.encoded
        case .namespaceControllers:
            return ControllerList(
                ascending: controller.subsystem.state.withLock { $0.controllers.identifiers(from: 0) }
            ).encoded
        default:
            return nil
        }
    }

    private func namespacePage(_ namespace: Namespace, _ geometry: BlockGeometry) -> IdentifyNamespace {
        let identity = namespace.definition.identity
        var page = IdentifyNamespace(blockCount: geometry.blockCount, blockSize: Int(geometry.blockSize))
        page.features = [.uniqueIdentifiers]
        if geometry.canDeallocate { page.features.insert(.thinProvisioning) }
        page.sharing = .shared
        page.reservations = reservationCapabilities(namespace)
        page.anaGroup = namespace.definition.anaGroup
        page.attributes = isWriteProtected(namespace, geometry) ? .writeProtected : []
        page.nguid = identity.nguid.flatMap { UUIDBytes(bytes: $0) } ?? UUIDBytes()
        page.eui64 = identity.eui64Value ?? 0
        if geometry.deallocatedReadsZeroes { page.deallocation = [.readsZeroes, .writeZeroesDeallocates] }
        let atomicBlocks = geometry.atomicWriteSize / geometry.blockSize
        if atomicBlocks > 1 {
            page.features.insert(.atomicWriteUnits)
            page.atomicWriteUnit = UInt16(clamping: atomicBlocks - 1)
            page.atomicWriteUnitPowerFail = UInt16(clamping: atomicBlocks - 1)
            page.atomicCompareAndWriteUnit = UInt16(clamping: geometry.compareAndWriteSize / geometry.blockSize - 1)
        }
        let optimalBlocks = geometry.optimalIOSize / geometry.blockSize
        let deallocateBlocks = geometry.deallocateGranularity / geometry.blockSize
        if optimalBlocks > 0 || deallocateBlocks > 1 {
            // 0's based: a unit that a device does not say is a block.
            func field(_ blocks: UInt32) -> UInt16 { UInt16(clamping: max(blocks, 1) - 1) }
            page.features.insert(.optimalPerformance)
            page.preferredWriteGranularity = field(optimalBlocks)
            page.preferredWriteAlignment = field(optimalBlocks)
            page.optimalWriteSize = field(optimalBlocks)
            let granularity = deallocateBlocks > 0 ? deallocateBlocks : optimalBlocks
            page.preferredDeallocateGranularity = field(granularity)
            page.preferredDeallocateAlignment = field(granularity)
        }
        return page
    }

    private func isWriteProtected(_ namespace: Namespace, _ geometry: BlockGeometry) -> Bool {
        namespace.definition.isReadOnly || geometry.isReadOnly
    }

    private func reservationCapabilities(_ namespace: Namespace) -> ReservationCapabilities {
        guard !target.options.omissions.contains(.reservations) else { return [] }
        var capabilities: ReservationCapabilities = [
            .writeExclusive, .exclusiveAccess, .writeExclusiveRegistrantsOnly, .exclusiveAccessRegistrantsOnly,
            .writeExclusiveAllRegistrants, .exclusiveAccessAllRegistrants, .ignoreExistingKey13,
        ]
        if namespace.definition.store != nil { capabilities.insert(.persistThroughPowerLoss) }
        return capabilities
    }
}

extension BlockIdentity {
    /// The EUI64 as a number, its first byte highest.
    var eui64Value: UInt64? {
        eui64.flatMap { bytes in bytes.count == 8 ? bytes.reduce(0) { $0 << 8 | UInt64($1) } : nil }
    }
}
