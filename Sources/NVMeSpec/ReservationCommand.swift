/// Reservation Register; its data is `ReservationRegisterData` (NVMe Base, "Reservation Register
/// command").
public struct ReservationRegisterCommand: Hashable, Sendable, BitwiseCopyable {
    /// The action.
    public var action: ReservationRegisterAction
    /// Ignore Existing Key (IEKEY).
    public var ignoresExistingKey: Bool
    /// Change Persist Through Power Loss State (CPTPL).
    public var powerLossPersistence: PowerLossPersistenceChange

    public init(
        _ action: ReservationRegisterAction, ignoresExistingKey: Bool = false,
        powerLossPersistence: PowerLossPersistenceChange = .noChange
    ) {
        self.action = action
        self.ignoresExistingKey = ignoresExistingKey
        self.powerLossPersistence = powerLossPersistence
    }
}

/// Reservation Register Action (RREGA).
public enum ReservationRegisterAction: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    case register = 0
    case unregister = 1
    case replace = 2
}

/// Change Persist Through Power Loss State (CPTPL).
public enum PowerLossPersistenceChange: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    case noChange = 0
    /// Reservations and registrants are released by a power loss.
    case clear = 2
    /// Reservations and registrants persist.
    case persist = 3
}

/// Reservation Acquire; its data is `ReservationAcquireData` (NVMe Base, "Reservation Acquire
/// command").
public struct ReservationAcquireCommand: Hashable, Sendable, BitwiseCopyable {
    /// The action.
    public var action: ReservationAcquireAction
    /// Ignore Existing Key (IEKEY): invalid for this command; a controller refuses it.
    public var ignoresExistingKey: Bool
    /// Reservation Type (RTYPE).
    public var type: ReservationType

    public init(_ action: ReservationAcquireAction, type: ReservationType, ignoresExistingKey: Bool = false) {
        self.action = action
        self.ignoresExistingKey = ignoresExistingKey
        self.type = type
    }
}

/// Reservation Acquire Action (RACQA).
public enum ReservationAcquireAction: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    case acquire = 0
    case preempt = 1
    case preemptAndAbort = 2
}

/// Reservation Release; its data is `ReservationReleaseData` (NVMe Base, "Reservation Release command").
public struct ReservationReleaseCommand: Hashable, Sendable, BitwiseCopyable {
    /// The action.
    public var action: ReservationReleaseAction
    /// Ignore Existing Key (IEKEY): invalid for this command; a controller refuses it.
    public var ignoresExistingKey: Bool
    /// The type of the reservation to release; `nil` if the command names none, as Clear may.
    public var type: ReservationType?

    public init(_ action: ReservationReleaseAction, type: ReservationType?, ignoresExistingKey: Bool = false) {
        self.action = action
        self.ignoresExistingKey = ignoresExistingKey
        self.type = type
    }
}

/// Reservation Release Action (RRELA).
public enum ReservationReleaseAction: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    case release = 0
    /// Removes the reservation and all registrants.
    case clear = 1
}

/// Reservation Report; its data is a `ReservationStatus` (NVMe Base, "Reservation Report command").
public struct ReservationReportCommand: Hashable, Sendable, BitwiseCopyable {
    /// Bytes to return, a multiple of 4: (NUMD + 1) × 4.
    public var byteCount: UInt64
    /// Extended Data Structure (EDS): 128-bit host identifiers, which a host on a fabric has.
    public var isExtended: Bool

    /// - Parameter byteCount: a multiple of 4 from 4 to 2^34.
    public init(byteCount: UInt64, isExtended: Bool = true) {
        self.byteCount = byteCount
        self.isExtended = isExtended
    }

    @usableFromInline
    init(_ entry: SubmissionEntry) {
        byteCount = (UInt64(entry.cdw10) + 1) * 4
        isExtended = entry.cdw11.bits(0, 1) != 0
    }
}

/// Reservation Type (RTYPE; NVMe Base, "Reservation Types").
public enum ReservationType: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    case writeExclusive = 1
    case exclusiveAccess = 2
    case writeExclusiveRegistrantsOnly = 3
    case exclusiveAccessRegistrantsOnly = 4
    case writeExclusiveAllRegistrants = 5
    case exclusiveAccessAllRegistrants = 6
}

extension IOCommand {
    /// Reserved actions are Invalid Field in Command.
    @usableFromInline
    init(register entry: SubmissionEntry) {
        guard let action = ReservationRegisterAction(rawValue: UInt8(entry.cdw10.bits(0, 3))),
            let change = PowerLossPersistenceChange(rawValue: UInt8(entry.cdw10.bits(30, 2)))
        else {
            self = .invalid(.invalidField)
            return
        }
        self = .reservationRegister(
            ReservationRegisterCommand(
                action, ignoresExistingKey: entry.cdw10.bits(3, 1) != 0, powerLossPersistence: change))
    }

    @usableFromInline
    init(acquire entry: SubmissionEntry) {
        guard let action = ReservationAcquireAction(rawValue: UInt8(entry.cdw10.bits(0, 3))),
            let type = ReservationType(rawValue: UInt8(entry.cdw10.bits(8, 8)))
        else {
            self = .invalid(.invalidField)
            return
        }
        self = .reservationAcquire(
            ReservationAcquireCommand(action, type: type, ignoresExistingKey: entry.cdw10.bits(3, 1) != 0))
    }

    @usableFromInline
    init(release entry: SubmissionEntry) {
        let type = ReservationType(rawValue: UInt8(entry.cdw10.bits(8, 8)))
        guard let action = ReservationReleaseAction(rawValue: UInt8(entry.cdw10.bits(0, 3))),
            action == .clear || type != nil
        else {
            self = .invalid(.invalidField)
            return
        }
        self = .reservationRelease(
            ReservationReleaseCommand(action, type: type, ignoresExistingKey: entry.cdw10.bits(3, 1) != 0))
    }
}

extension SubmissionEntry {
    @usableFromInline
    mutating func encode(_ command: ReservationRegisterCommand) {
        opcode = NVMOpcode.reservationRegister.rawValue
        cdw10 = UInt32(command.action.rawValue) | (command.ignoresExistingKey ? 1 << 3 : 0)
        cdw10 |= UInt32(command.powerLossPersistence.rawValue) << 30
    }

    @usableFromInline
    mutating func encode(_ command: ReservationAcquireCommand) {
        opcode = NVMOpcode.reservationAcquire.rawValue
        cdw10 = UInt32(command.action.rawValue) | (command.ignoresExistingKey ? 1 << 3 : 0)
        cdw10 |= UInt32(command.type.rawValue) << 8
    }

    @usableFromInline
    mutating func encode(_ command: ReservationReleaseCommand) {
        opcode = NVMOpcode.reservationRelease.rawValue
        cdw10 = UInt32(command.action.rawValue) | (command.ignoresExistingKey ? 1 << 3 : 0)
        cdw10 |= UInt32(command.type?.rawValue ?? 0) << 8
    }

    @usableFromInline
    mutating func encode(_ command: ReservationReportCommand) {
        opcode = NVMOpcode.reservationReport.rawValue
        cdw10 = UInt32(truncatingIfNeeded: command.byteCount / 4 - 1)
        cdw11 = command.isExtended ? 1 : 0
    }
}
