import BlockInterface
import NVMeSpec

extension IOCommand {
    /// The access that a namespace's reservation has to allow. Reservation commands are judged by the reservation itself.
    @inline(__always)
    var needs: Access {
        switch self {
        case .read, .compare, .verify: .read
        case .write, .flush, .writeZeroes, .datasetManagement: .write
        case .reservationRegister, .reservationReport, .reservationAcquire, .reservationRelease, .invalid: []
        }
    }

    /// The command changes what the namespace holds.
    @inline(__always)
    var changesData: Bool {
        switch self {
        case .write, .writeZeroes, .datasetManagement: true
        default: false
        }
    }

    /// A command that the control path executes: one of reservations.
    @inline(__always)
    var isReservation: Bool {
        switch self {
        case .reservationRegister, .reservationReport, .reservationAcquire, .reservationRelease, .invalid: true
        default: false
        }
    }
}

extension IOCommand {
    /// Whether a failure of the command may be the one by which the device tells of a loss. A write with FUA may be: it ends with
    /// an fdatasync of its own, which reports what was lost before it.
    func tellsOfLosses(_ status: BlockStatus) -> Bool {
        switch self {
        case .flush: status == .writeFault || status == .capacityExceeded || status == .internalError
        case .write(let range), .writeZeroes(let range):
            range.flags.contains(.forceUnitAccess) && (status == .writeFault || status == .internalError)
        default: false
        }
    }
}

extension NamespaceTable {
    /// The answer to I/O that names no namespace that is there. A reload may have taken it away for a moment, where there can be
    /// one.
    @inline(never)
    func refusal(of nsid: UInt32) -> Status {
        hasPlace(for: nsid) ? .invalidNamespaceOrFormat : .invalidNamespaceOrFormat.doNotRetry
    }
}

extension NamespaceSlot {
    /// The answer to a command that may not be done at all now; success where it may.
    @inline(__always)
    func verdict(on command: IOCommand, of host: HostIndex, _ access: AccessTable) -> Status {
        let access = access[anaGroup]
        guard access.isSuccess else { return access }
        guard reservation.allows(command.needs, to: host) else { return .reservationConflict }
        guard !isReadOnly || !command.changesData else { return .namespaceIsWriteProtected }
        return .success
    }

    /// The answer to a command whose SLBA and NLB do not lie within the namespace; success where they do.
    @inline(__always)
    func verdict(on range: BlockCommand) -> Status {
        let (end, overflow) = range.startingLBA.addingReportingOverflow(UInt64(range.blockCount))
        guard !overflow, end <= blockCount else { return .lbaOutOfRange }
        // No namespace has protection information: PRINFO must be clear (NVM Command Set, "Protection Information").
        guard range.flags.isDisjoint(with: .protectionInformation) else {
            return .invalidProtectionInformation.doNotRetry
        }
        return .success
    }

    /// The answer to a Dataset Management command that names blocks beyond the end; success where it does not.
    func verdict(onRanges data: UnsafeRawPointer, count: Int) -> Status {
        for position in 0..<count {
            let range = DatasetManagementRange(from: data + position * DatasetManagementRange.byteCount)
            let (end, overflow) = range.startingLBA.addingReportingOverflow(UInt64(range.blockCount))
            guard !overflow, end <= blockCount else { return .lbaOutOfRange }
        }
        return .success
    }
}

extension BlockCommandFlags {
    /// Protection Information Field (PRINFO).
    fileprivate static var protectionInformation: BlockCommandFlags {
        BlockCommandFlags(rawValue: 0x3C00)
    }
}
