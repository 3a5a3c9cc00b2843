import Base
import NVMeSpec

/// Commands that the specifications make mandatory, and the offers.
extension BareTarget {
    func execute(_ command: BareCommand) -> BareAnswer {
        if command.entry.opcode == FabricsCommandType.opcode { return fabrics(command) }
        return command.queue.id == 0 ? admin(command) : io(command)
    }

    private func fabrics(_ command: BareCommand) -> BareAnswer {
        switch FabricsCommand(command.entry) {
        case .connect:
            guard let data = payload(command),
                let connect = try? data.withUnsafeBytes({ try ConnectData(decoding: $0) }), connect.subsystemNQN == nqn
            else { return .answer(.connectInvalidParameters.doNotRetry) }
            command.queue.hostID = connect.hostID
            let isAdmin = connect.controllerID == ConnectData.anyController
            return .answer(.success, result: UInt64(isAdmin ? command.queue.controllerID : connect.controllerID))
        case .propertyGet(let get):
            switch Property(rawValue: get.offset) {
            case .capabilities:
                return .answer(
                    .success, result: ControllerCapabilities(queueEntries: 32, timeoutMilliseconds: 5000).rawValue)
            case .status:
                var status = ControllerStatus(rawValue: 0)
                let configuration = configurations[command.queue.controllerID] ?? 0
                if configuration & 1 != 0 { status = ControllerStatus(rawValue: 1) }
                if configuration >> 14 & 3 != 0 { status.shutdownStatus = .complete }
                return .answer(.success, result: UInt64(status.rawValue))
            case .configuration:
                return .answer(.success, result: UInt64(configurations[command.queue.controllerID] ?? 0))
            default: return .answer(.success)
            }
        case .propertySet(let set):
            configurations[command.queue.controllerID] = UInt32(truncatingIfNeeded: set.value)
            return .answer(.success)
        default: return .invalidOpcode
        }
    }

    private func admin(_ command: BareCommand) -> BareAnswer {
        switch AdminCommand(command.entry) {
        case .identify(let identify): return self.identify(identify, command)
        case .setFeatures(let set) where set.feature == .numberOfQueues:
            return .answer(.success, result: UInt64(NumberOfQueues(submission: 1, completion: 1).rawValue))
        // Mandatory too; with OAES 0 there is no event to ask for.
        case .setFeatures(let set) where set.feature == .asyncEventConfiguration && set.value == 0:
            return .answer(.success)
        case .keepAlive: return .answer(.success)
        case .asynchronousEventRequest: return .later
        case .abort: return .answer(.success, result: 1)
        case .setFeatures, .getFeatures, .getLogPage: return .invalidField
        default: return .invalidOpcode
        }
    }

    private func identify(_ identify: IdentifyCommand, _ command: BareCommand) -> BareAnswer {
        switch identify.structure {
        case .controller: return .data(controller(command.queue.controllerID).encoded)
        case .activeNamespaces: return .data(NamespaceList([UInt32(1)], after: command.entry.nsid).encoded)
        case .namespace:
            return command.entry.nsid == 1
                ? .data(namespace.encoded) : .answer(.invalidNamespaceOrFormat.doNotRetry)
        case .namespaceDescriptors where offers.contains(.uuid):
            // Type 3, 16 bytes, and an end of zeroes.
            var name = [UInt8](repeating: 0, count: 16)
            for (index, byte) in nqn.utf8.suffix(16).enumerated() { name[index] = byte }
            return .data([3, 16, 0, 0] + name + [UInt8](repeating: 0, count: 4076))
        default: return .invalidField
        }
    }

    private func controller(_ identifier: UInt16) -> IdentifyController {
        var page = IdentifyController()
        page.modelNumber = "Bare"
        page.serialNumber = "1"
        page.version = SpecificationVersion(major: 2, minor: 0)
        page.controllerID = identifier
        page.controllerType = .io
        // 128 KiB.
        page.maxDataTransferSize = 5
        page.keepAliveGranularity = 10
        page.sglSupport = [.supported, .keyed]
        page.ioCommandCapsuleSize = 4
        page.maxSGLDescriptors = 1
        page.namespaceCount = 1
        page.subsystemNQN = nqn
        if lies || offers.contains(.writeZeroes) { page.nvmCommands.insert(.writeZeroes) }
        if lies || offers.contains(.compare) { page.nvmCommands.insert(.compare) }
        if lies || offers.contains(.reservations) { page.nvmCommands.insert(.reservations) }
        return page
    }

    private var namespace: IdentifyNamespace {
        var page = IdentifyNamespace(blockCount: store.blockCount, blockSize: store.blockSize)
        if lies || offers.contains(.reservations) { page.reservations = .writeExclusiveRegistrantsOnly }
        return page
    }

    // MARK: I/O

    private func io(_ command: BareCommand) -> BareAnswer {
        let entry = command.entry
        guard entry.nsid == 1 else { return .answer(.invalidNamespaceOrFormat.doNotRetry) }
        switch IOCommand(entry) {
        case .flush: return .answer(.success)
        case .read(let blocks):
            // FUA, bit 30, is mandatory; all other bits of dword 12 are not.
            guard blocks.flags.subtracting(.forceUnitAccess) == [] else { return .invalidField }
            guard let range = range(blocks) else { return .answer(.lbaOutOfRange.doNotRetry) }
            return .data(Array(store.memory[range]))
        case .write(let blocks):
            guard blocks.flags.subtracting(.forceUnitAccess) == [] else { return .invalidField }
            guard let range = range(blocks) else { return .answer(.lbaOutOfRange.doNotRetry) }
            guard mayWrite(command) else { return .answer(.reservationConflict.doNotRetry) }
            guard let bytes = payload(command), bytes.count == range.count else {
                return .answer(.dataSGLLengthInvalid.doNotRetry)
            }
            UnsafeMutableRawBufferPointer(rebasing: store.memory[range]).copyBytes(from: bytes)
            return .answer(.success)
        case .writeZeroes(let blocks) where offers.contains(.writeZeroes):
            guard blocks.flags.subtracting(.forceUnitAccess) == [] else { return .invalidField }
            guard let range = range(blocks) else { return .answer(.lbaOutOfRange.doNotRetry) }
            guard mayWrite(command) else { return .answer(.reservationConflict.doNotRetry) }
            UnsafeMutableRawBufferPointer(rebasing: store.memory[range]).initializeMemory(
                as: UInt8.self, repeating: 0)
            return .answer(.success)
        case .compare(let blocks) where offers.contains(.compare):
            guard let range = range(blocks) else { return .answer(.lbaOutOfRange.doNotRetry) }
            return .answer(payload(command) == Array(store.memory[range]) ? .success : .compareFailure)
        case .reservationRegister, .reservationAcquire, .reservationRelease, .reservationReport:
            guard offers.contains(.reservations) else { return lies ? .invalidField : .invalidOpcode }
            return reservations.execute(
                command, tellsControllers: offers.contains(.controllers), payload: payload(command))
        case .writeZeroes, .compare: return lies ? .invalidField : .invalidOpcode
        default: return .invalidOpcode
        }
    }

    private func mayWrite(_ command: BareCommand) -> Bool { reservations.mayWrite(command.queue.hostID) }

    private func range(_ blocks: BlockCommand) -> Range<Int>? {
        let (end, overflow) = blocks.startingLBA.addingReportingOverflow(UInt64(blocks.blockCount))
        guard !overflow, end <= store.blockCount else { return nil }
        return Int(blocks.startingLBA) * store.blockSize..<Int(end) * store.blockSize
    }
}

/// Reservations of one type: Write Exclusive, Registrants Only (NVMe Base, "Reservations").
struct BareReservations {
    private var registrants: [(host: UUIDBytes, key: UInt64, controller: UInt16)] = []
    private var holder: UUIDBytes?
    private var generation: UInt32 = 0

    func mayWrite(_ host: UUIDBytes) -> Bool { holder == nil || registrants.contains { $0.host == host } }

    /// - Parameter tellsControllers: a report names the controllers of registrants; otherwise it is that of the dynamic controller model,
    ///   and names none.
    mutating func execute(
        _ command: BareCommand, tellsControllers: Bool, payload: @autoclosure () -> [UInt8]?
    ) -> BareAnswer {
        let host = command.queue.hostID
        let conflict = BareAnswer.answer(.reservationConflict.doNotRetry)
        let own = registrants.first { $0.host == host }?.key
        if case .reservationReport = IOCommand(command.entry) {
            let status = ReservationStatus(
                generation: generation, type: holder == nil ? nil : .writeExclusiveRegistrantsOnly,
                persistsThroughPowerLoss: false,
                registrants: registrants.map {
                    ReservationStatus.Registrant(
                        controllerID: tellsControllers
                            ? $0.controller : ReservationStatus.Registrant.anyController,
                        holdsReservation: $0.host == holder, hostID: $0.host, key: $0.key)
                })
            return .data(status.encoded(isExtended: true))
        }
        guard let keys = payload(), keys.count >= 8 else { return .invalidField }
        func key(_ offset: Int) -> UInt64 {
            keys.count < offset + 8 ? 0 : (0..<8).reduce(UInt64(0)) { $0 | UInt64(keys[offset + $1]) << UInt64(8 * $1) }
        }
        switch IOCommand(command.entry) {
        case .reservationRegister(let register):
            guard register.powerLossPersistence == .noChange else { return .invalidField }
            if register.action == .unregister {
                guard own == key(0) else { return conflict }
                remove(host)
                return .answer(.success)
            }
            // Registering the same key anew has no effect; another needs Replace.
            if let own, own != key(8), register.action == .register { return conflict }
            registrants.removeAll { $0.host == host }
            registrants.append((host, key(8), command.queue.controllerID))
            generation += 1
        case .reservationAcquire(let acquire):
            guard acquire.type == .writeExclusiveRegistrantsOnly else { return .invalidField }
            guard own == key(0) else { return conflict }
            if acquire.action == .acquire {
                guard holder == nil || holder == host else { return conflict }
                holder = host
            } else {
                let victims = registrants.filter { $0.key == key(8) }.map(\.host)
                guard !victims.isEmpty else { return conflict }
                let wasHeld = holder.map(victims.contains) ?? false
                for victim in victims where victim != host { remove(victim) }
                if wasHeld { holder = host }
                generation += 1
            }
        case .reservationRelease(let release):
            guard own == key(0) else { return conflict }
            if release.action == .clear { registrants = [] }
            if release.action == .clear || holder == host { holder = nil }
        default: return .invalidOpcode
        }
        return .answer(.success)
    }

    private mutating func remove(_ host: UUIDBytes) {
        registrants.removeAll { $0.host == host }
        if holder == host { holder = nil }
        generation += 1
    }
}
