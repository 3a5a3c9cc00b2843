import Base
import BlockInterface
import NVMeSpec
import Synchronization

/// Get Log Page.
extension PollGroup {
    func getLogPage(_ command: GetLogPageCommand, _ request: ControlRequest) {
        let controller = request.controller
        guard command.byteCount <= UInt64(target.options.maxTransferSize), !command.offsetIsIndex else {
            return fail(request, .invalidField.doNotRetry)
        }
        // Before the page is made: what changes from here on is told again, as it may not be in the page.
        if !command.retainsEvent {
            controller.state.withLock { $0.events.unmask { $0.logPage == command.logPage.rawValue } }
        }
        let nsid = request.nsid
        guard let page = logPage(command, nsid: nsid, controller) else {
            return fail(request, .invalidLogPage.doNotRetry)
        }
        guard command.offset <= UInt64(page.count) else { return fail(request, .invalidField.doNotRetry) }
        // A host may ask for more than the page has; the rest is zeroes.
        let window = page[Int(command.offset)...].prefix(Int(command.byteCount))
        answerWithData(request, length: Int(command.byteCount)) { buffer in
            window.withUnsafeBytes { buffer.copyMemory(from: $0) }
        }
        deliverEvents(of: controller)
    }

    private func logPage(_ command: GetLogPageCommand, nsid: UInt32, _ controller: Controller) -> [UInt8]? {
        if controller.isDiscovery {
            return command.logPage == .discovery ? discoveryLog(for: controller).encoded : nil
        }
        switch command.logPage {
        case .supportedLogPages:
            return SupportedLogPages([
                .supportedLogPages, .errorInformation, .smart, .firmwareSlot, .changedNamespaces,
                .commandsSupportedAndEffects, .ana, .reservationNotification,
            ]).encoded
        case .errorInformation:
            var bytes = controller.state.withLock { $0.errorLog.entries }.flatMap(\.encoded)
            bytes += [UInt8](repeating: 0, count: ErrorLog.capacity * ErrorLogEntry.byteCount - bytes.count)
            return bytes
        case .smart:
            // SMART is kept for the controller as a whole: for one namespace it is not supported (LPA bit 0).
            guard nsid == 0 || nsid == 0xFFFF_FFFF else { return nil }
            return smartLog(controller).encoded
        case .firmwareSlot:
            return FirmwareSlotLog(revision: PollGroup.firmwareRevision).encoded
        case .changedNamespaces:
            let changed = controller.state.withLock { state in
                defer { if !command.retainsEvent { state.changedNamespaces = [] } }
                return state.changedNamespaces
            }
            return NamespaceList(changed: changed).encoded
        case .commandsSupportedAndEffects:
            return effectsLog().encoded
        case .reservationNotification:
            return controller.takeNotification(retains: command.retainsEvent).encoded
        case .ana:
            let page = anaLog(controller.subsystem).encoded(
                groupsOnly: command.specificParameter & ANALog.returnGroupsOnly != 0)
            // As long as Identify Controller (NANAGRPID, NN) lets it become: nvme-cli reads that much, in pieces.
            let longest =
                ANALog.headerByteCount + target.options.maxNamespaces * (ANALog.Group.headerByteCount + 4)
            return page + [UInt8](repeating: 0, count: max(0, longest - page.count))
        default:
            return nil
        }
    }

    private func smartLog(_ controller: Controller) -> SMARTLog {
        let total = controller.subsystem.statistics
        var page = SMARTLog()
        // 20 degrees Celsius: there is no sensor, and hosts warn of 0 kelvins.
        page.temperature = 293
        page.availableSpare = 100
        page.availableSpareThreshold = 10
        page.dataUnitsRead = SMARTLog.dataUnits(ofBytes: total.bytesRead)
        page.dataUnitsWritten = SMARTLog.dataUnits(ofBytes: total.bytesWritten)
        page.hostReadCommands = total.readCommands
        page.hostWriteCommands = total.writeCommands
        page.controllerBusyMinutes = total.serviceNanoseconds / 60_000_000_000
        page.powerCycles = 1
        page.powerOnHours = now.nanoseconds(since: target.started) / 3_600_000_000_000
        page.mediaErrors = total.mediaErrors
        page.errorLogEntries = controller.state.withLock { $0.errorLog.count }
        if controller.subsystem.namespaces.contains(where: { $0.geometry.blockCount == 0 }) {
            page.criticalWarning.insert(.degraded)
        }
        return page
    }

    private func effectsLog() -> CommandEffectsLog {
        var log = CommandEffectsLog()
        for opcode: AdminOpcode in [
            .getLogPage, .identify, .abort, .setFeatures, .getFeatures, .asynchronousEventRequest, .keepAlive,
        ] {
            log[opcode] = .supported
        }
        log.quiesce = .supported
        for opcode: NVMOpcode in [.flush, .read, .compare, .verify] { log[opcode] = .supported }
        for opcode: NVMOpcode in [.write, .writeZeroes, .datasetManagement] {
            log[opcode] = [.supported, .changesContent]
        }
        for opcode: NVMOpcode in [
            .reservationRegister, .reservationReport, .reservationAcquire, .reservationRelease,
        ] {
            log[opcode] = .supported
        }
        log.fabrics = .supported
        return log
    }

    private func anaLog(_ subsystem: Subsystem) -> ANALog {
        let namespaces = subsystem.namespaces
        let changeCount = subsystem.state.withLock { $0.anaChangeCount }
        let groups = Set(namespaces.map(\.definition.anaGroup)).sorted()
        return ANALog(
            changeCount: changeCount,
            groups: groups.map { group in
                ANALog.Group(
                    id: group, changeCount: changeCount, state: subsystem.anaState(of: group),
                    namespaces: namespaces.filter { $0.definition.anaGroup == group }.map(\.nsid))
            })
    }

    /// What the host may connect to: every subsystem that allows it, at every listener; then the referrals.
    private func discoveryLog(for controller: Controller) -> DiscoveryLog {
        let (listeners, referrals) = target.state.withLock { ($0.listeners, $0.referrals) }
        var entries: [DiscoveryLogEntry] = []
        for listener in listeners {
            for subsystem in target.subsystems where subsystem.allows(host: controller.hostNQN) {
                var entry = discoveryEntry(listener.address, listener.portID, controller)
                entry.subsystemType = .nvm
                entry.subsystemNQN = subsystem.nqn
                entries.append(entry)
            }
        }
        for referral in referrals {
            var entry = discoveryEntry(referral.address, referral.portID, controller)
            entry.subsystemType = .referral
            entry.subsystemNQN = NQN.discovery
            entries.append(entry)
        }
        return DiscoveryLog(generation: target.generation.load(ordering: .relaxed), entries: entries)
    }

    private func discoveryEntry(_ address: SocketAddress, _ portID: UInt16, _ controller: Controller)
        -> DiscoveryLogEntry
    {
        var entry = DiscoveryLogEntry()
        // A wildcard address means nothing to a host: it is told the address that it used itself.
        let isWildcard = address.host == "0.0.0.0" || address.host == "::"
        let shown = isWildcard ? controller.localAddress ?? address : address
        entry.addressFamily = shown.family == .ipv4 ? .ipv4 : .ipv6
        entry.requirements = .disableSQFlowControl
        entry.portID = portID
        entry.adminQueueSize = UInt16(Limits.adminQueueDepth)
        entry.serviceID = "\(address.port)"
        entry.address = shown.host
        return entry
    }
}
