import Base
import BlockInterface
import NVMeSpec
import Synchronization
import TargetInterface

/// Get Log Page.
struct LogPages {
    let target: Target

    func reply(to command: GetLogPageCommand, _ request: ControlRequest) -> ControlReply {
        let controller = request.controller
        guard command.byteCount <= UInt64(target.options.maxTransferSize), !command.offsetIsIndex else {
            return .refused(.invalidField)
        }
        // Before the page is made: what changes from here on is told again, as it may not be in the page.
        if !command.retainsEvent {
            controller.state.withLock { $0.events.unmask { $0.logPage == command.logPage.rawValue } }
        }
        guard let page = logPage(command, request) else {
            return .refused(.invalidLogPage)
        }
        guard command.offset <= UInt64(page.byteCount) else { return .refused(.invalidField) }
        return .page(page, offset: Int(command.offset), length: Int(command.byteCount))
    }

    private func logPage(_ command: GetLogPageCommand, _ request: ControlRequest) -> DataPage? {
        let controller = request.controller
        if controller.isDiscovery {
            guard command.logPage == .discovery else { return nil }
            let log = target.discoveryLog(for: controller)
            return DataPage(byteCount: log.byteCount) { log.write(to: $0) }
        }
        switch command.logPage {
        case .supportedLogPages:
            return DataPage(
                SupportedLogPages([
                    .supportedLogPages, .errorInformation, .smart, .firmwareSlot, .changedNamespaces,
                    .commandsSupportedAndEffects, .ana, .reservationNotification,
                ]).encoded)
        case .errorInformation:
            let entries = controller.state.withLock { $0.errorLog.entries }.flatMap(\.encoded)
            return DataPage(byteCount: ErrorLog.capacity * ErrorLogEntry.byteCount) { $0.place(entries, at: 0) }
        case .smart:
            // SMART is kept for the controller as a whole: for one namespace it is not supported (LPA bit 0).
            guard request.nsid == 0 || request.nsid == 0xFFFF_FFFF else { return nil }
            return DataPage(smartLog(controller, request.now).encoded)
        case .firmwareSlot:
            return DataPage(FirmwareSlotLog(revision: ControllerFacts.firmwareRevision).encoded)
        case .changedNamespaces:
            let changed = controller.state.withLock { state in
                defer { if !command.retainsEvent { state.changedNamespaces = [] } }
                return state.changedNamespaces
            }
            return DataPage(NamespaceList(changed: changed).encoded)
        case .commandsSupportedAndEffects:
            return DataPage(effectsLog(isManager: controller.managedPool != nil).encoded)
        case .reservationNotification:
            return DataPage(controller.takeNotification(retains: command.retainsEvent).encoded)
        case .ana:
            let log = anaLog(controller)
            let groupsOnly = command.specificParameter & ANALog.returnGroupsOnly != 0
            // As long as Identify Controller (NANAGRPID, MNAN) lets it become: nvme-cli reads that much, in pieces.
            let longest =
                ANALog.headerByteCount + Limits.anaGroups * ANALog.Group.headerByteCount
                + target.options.maxNamespaceCount * 4
            return DataPage(byteCount: max(longest, log.byteCount(groupsOnly: groupsOnly))) {
                log.write(to: $0, groupsOnly: groupsOnly)
            }
        default:
            return nil
        }
    }

    private func smartLog(_ controller: Controller, _ now: MonotonicTime) -> SMARTLog {
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
        if controller.subsystem.state.withLock({ $0.namespaces.hasVanished }) { page.criticalWarning.insert(.degraded) }
        return page
    }

    /// - Parameter isManager: the host may make and delete namespaces.
    private func effectsLog(isManager: Bool) -> CommandEffectsLog {
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
        if isManager {
            for opcode: AdminOpcode in [.namespaceManagement, .namespaceAttachment] {
                log[opcode] = [.supported, .changesNamespaceInventory]
            }
            log.namespaceGrowth = [.supported, .changesNamespaceCapability]
        }
        return log
    }

    /// As the hosts of the controller's listener see the groups.
    private func anaLog(_ controller: Controller) -> ANALog {
        controller.subsystem.state.withLock { state in
            let changeCount = state.anaStates.changeCount
            return ANALog(
                changeCount: changeCount,
                groups: state.namespaces.anaGroups.map { group in
                    ANALog.Group(
                        id: group, changeCount: changeCount,
                        state: state.anaStates.state(of: group, at: controller.listener),
                        namespaces: state.namespaces.members(of: group))
                })
        }
    }
}
