import Base
import InitiatorTransport
import NVMeSpec
import Reactor

/// From a connection to a controller that does I/O, with the checks that Linux makes on the way (nvme-core and nvme-rdma,
/// `nvme_init_ctrl_finish`, `nvme_rdma_setup_ctrl`).
extension Controller {
    /// Makes all queues of a new association. On the home group's executor.
    func bringUp() async throws(InitiatorError) {
        let number = self.number
        let connected = try await admin.open(
            QueueIdentity(
                options: options, queueID: 0, controllerID: ConnectData.anyController, entries: Limits.adminEntries,
                timeoutMilliseconds: connectTimeoutMilliseconds)
        ) { [unowned self] reason in failed(reason, association: number) }
        admin.activate(QueueTerms(timeoutMilliseconds: options.adminTimeoutMilliseconds))
        try await enable()
        try await identifyController(connected.controllerID)
        await identifyCommandSet()
        connectedQueues = 0
        if !options.isDiscovery, !queues.isEmpty {
            try await connectQueues(connected.controllerID)
        }
        await enableRetryDelays()
        try await configureEvents()
        if !options.isDiscovery { try await scanNamespaces() }
        await activateQueues()
    }

    /// For one queue of the association in the making. The first attempt is `connect`'s; the others follow an outage.
    private var connectTimeoutMilliseconds: UInt32 {
        let limit = options.connectTimeoutMilliseconds
        return outage == 0 ? limit : min(limit, options.reconnectTimeoutMilliseconds)
    }

    // MARK: Enabling

    private func enable() async throws(InitiatorError) {
        capabilities = ControllerCapabilities(rawValue: try await property(.capabilities))
        guard capabilities.memoryPageSizeMin == 0 else {
            throw .unsupported("the controller's smallest page is 2^\(12 + capabilities.memoryPageSizeMin) bytes")
        }
        guard capabilities.commandSets.contains(.nvm) || capabilities.commandSets.isEmpty || options.isDiscovery else {
            throw .unsupported("the controller has no NVM command set")
        }
        try await setProperty(.configuration, UInt64(ControllerConfiguration.enabled.rawValue))
        // CAP.TO counts half seconds; one more for a controller that gives 0 (Linux: (TO + 1) / 2 s).
        let limit = home.now.advanced(byMilliseconds: (UInt64(capabilities.timeout) + 1) * 500)
        while true {
            let status = ControllerStatus(rawValue: UInt32(truncatingIfNeeded: try await property(.status)))
            if status.isFatal { throw .invalidResponse("the controller reports a fatal state (CSTS.CFS)") }
            if status.isReady { return }
            if home.now >= limit { throw .timeout("the controller to become ready") }
            await home.sleep(milliseconds: 10)
        }
    }

    private func identifyController(_ controllerID: UInt16) async throws(InitiatorError) {
        let bytes = try await identify(.controller)
        do { identify = try IdentifyController(decoding: bytes) } catch {
            throw .invalidResponse("\(error)")
        }
        guard identify.controllerID == controllerID else {
            throw .invalidResponse(
                "Connect says controller \(controllerID), Identify says \(identify.controllerID)")
        }
        if let objection = home.transport.objection(to: identify) { throw .invalidResponse(objection) }
        if options.isDiscovery {
            guard identify.controllerType == .discovery || identify.controllerType == .notReported else {
                throw .invalidResponse("not a discovery controller (CNTRLTYPE \(identify.controllerType.rawValue))")
            }
            return
        }
        guard identify.controllerType == .io || identify.controllerType == .notReported else {
            throw .unsupported("not an I/O controller (CNTRLTYPE \(identify.controllerType.rawValue))")
        }
        guard identify.keepAliveGranularity != 0 || options.keepAliveMilliseconds == 0 else {
            throw .invalidResponse("the controller has no keep alive (KAS 0)")
        }
        guard identify.ioCommandCapsuleSize >= 4 else {
            throw .invalidResponse("a capsule that holds no command (IOCCSZ \(identify.ioCommandCapsuleSize))")
        }
        guard identify.ioResponseCapsuleSize >= 1 else {
            throw .invalidResponse("a capsule that holds no completion (IORCSZ \(identify.ioResponseCapsuleSize))")
        }
        guard identify.inCapsuleDataOffset == 0 else {
            throw .unsupported("in-capsule data at an offset (ICDOFF \(identify.inCapsuleDataOffset))")
        }
    }

    /// Reads the limits of commands that carry no data, where the controller may have some: CNS 06h came with NVMe 2.0, and
    /// one that does not know it sets none.
    private func identifyCommandSet() async {
        commandSetLimits = IdentifyNVMController()
        guard !options.isDiscovery, !queues.isEmpty, identify.version.major >= 2,
            let bytes = try? await identify(.commandSetController),
            let found = try? IdentifyNVMController(decoding: bytes)
        else { return }
        commandSetLimits = found
    }

    /// Bytes that a limit of n means: 2^n pages of CAP.MPSMIN, which is 4 KiB; 0 for no limit.
    private func byteLimit(_ exponent: UInt8) -> UInt64 {
        exponent == 0 || exponent > 51 ? .max : 4096 << UInt64(exponent)
    }

    /// Tells a controller that has Command Retry Delay Times that we heed them (Linux: `nvme_configure_host_options`). One
    /// that refuses does not use them.
    private func enableRetryDelays() async {
        guard identify.commandRetryDelay1 > 0, !options.isDiscovery else { return }
        var behavior = HostBehaviorSupport()
        behavior.advancedCommandRetry = 1
        let entry = SubmissionEntry(
            .setFeatures(SetFeaturesCommand(.hostBehaviorSupport, value: 0)), nsid: 0, commandID: 0)
        _ = try? await command(entry, name: "Set Features \(FeatureID.hostBehaviorSupport)", sending: behavior.encoded)
    }

    // MARK: I/O queues

    private func connectQueues(_ controllerID: UInt16) async throws(InitiatorError) {
        let wanted = NumberOfQueues(submission: queues.count, completion: queues.count)
        let granted = NumberOfQueues(
            rawValue: UInt32(truncatingIfNeeded: try await setFeature(.numberOfQueues, wanted.rawValue)))
        let count = min(queues.count, granted.submission, granted.completion)
        var entries = min(options.queueEntries, Int(capabilities.maxQueueEntries) + 1, Limits.maxDepth)
        // MAXCMD: commands of one queue that the controller works on at once; 0 where it does not say.
        if identify.maxOutstandingCommands > 0 {
            entries = min(entries, Int(identify.maxOutstandingCommands) + 1)
        }
        guard entries >= 2 else { throw .invalidResponse("I/O queues of \(entries) entries (CAP.MQES)") }
        for (position, queue) in queues.prefix(count).enumerated() {
            let identity = QueueIdentity(
                options: options, queueID: UInt16(position + 1), controllerID: controllerID, entries: entries,
                timeoutMilliseconds: connectTimeoutMilliseconds)
            try await openQueue(queue, identity)
            connectedQueues += 1
        }
    }

    private func openQueue(_ queue: IOQueue, _ identity: QueueIdentity) async throws(InitiatorError) {
        let number = self.number
        let home = Unowned(self)
        let result = try await withTaskExecutorPreference(queue.group.executor) {
            () async throws(InitiatorError) -> ConnectResult in
            try await queue.open(identity) { reason in
                let controller = home.value
                controller.home.mailbox.send { controller.failed(reason, association: number) }
            }
        }
        guard result.controllerID == identity.controllerID else {
            throw .invalidResponse(
                "an I/O queue of controller \(identity.controllerID) became one of \(result.controllerID)")
        }
    }

    /// The host's wishes for one command's data, as far as the controller goes along (MDTS).
    private var wishes: TransferWishes {
        TransferWishes(
            maxBytes: min(max(options.maxTransferSize, 4096), identify.maxDataTransferByteCount ?? .max),
            maxInCapsuleBytes: options.maxInCapsuleData)
    }

    private func activateQueues() async {
        let wishes = wishes
        for queue in queues.prefix(connectedQueues) {
            var terms = QueueTerms(timeoutMilliseconds: options.ioTimeoutMilliseconds)
            if options.recovery == .repeat { terms.retryRule = RetryRule(identify) }
            terms.optional = OptionalOperations(identify)
            terms.maxZeroesBytes = byteLimit(commandSetLimits.writeZeroesSizeLimit)
            terms.maxVerifyBytes = byteLimit(commandSetLimits.verifySizeLimit)
            let known = terms
            await queue.group.onExecutor {
                guard let limits = queue.configure(self.identify, wishes) else { return }
                var terms = known
                terms.limits = limits
                queue.activate(terms)
            }
        }
    }

    // MARK: The end

    /// Tells the controller that this host goes: it completes what it has and flushes (NVMe Base, "Shutdown"). As far as
    /// it answers in time.
    func shutDown() async {
        guard state == .live, admin.isLive else { return }
        var configuration = ControllerConfiguration.enabled
        configuration.shutdownNotification = .normal
        do throws(InitiatorError) {
            try await setProperty(.configuration, UInt64(configuration.rawValue), timeoutMilliseconds: 1000)
            // RTD3E is in microseconds; Linux waits 5 s where it says nothing.
            let limit = home.now.advanced(
                byMilliseconds: min(max(UInt64(identify.rtd3EntryLatency) / 1000, 1000), 5000))
            while home.now < limit {
                let value = try await property(.status, timeoutMilliseconds: 1000)
                if ControllerStatus(rawValue: UInt32(truncatingIfNeeded: value)).shutdownStatus == .complete { return }
                await home.sleep(milliseconds: 10)
            }
        } catch {
            // The controller went first: there is nobody left to tell.
            return
        }
    }
}

/// A reference that does not keep alive, for closures that their object outlives.
struct Unowned<Object: AnyObject>: @unchecked Sendable {
    // Unchecked: a reference that does not change; its object is guarded as its own class says.
    unowned let value: Object
    init(_ value: Object) { self.value = value }
}
