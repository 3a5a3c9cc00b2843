import Simulation

/// A promise that a machine of the simulation does not keep.
public enum MachineDefect: Sendable {
    case flushIgnored
    case forceUnitAccessIgnored
    /// A target tells the same instances after a restart as before.
    case instanceKept
    case flushEndsEarly
    case trimEndsEarly
    case flushForgets
    case failuresHidden
    case flushFailuresHidden
    case writesMisdirected
    case readsStale
    case readsMisdirected
    case writesDropped
    case writesRepeated
    case writesEndShort
    case zeroesForgotten
    case zeroesNotZero
    case comparesEqual
    case dataTorn
    case reseatUnnoticed
    case clockAtHalfSpeed
    /// The clocks of initiators' machines go 32 times as fast: what they give a member time for ends too early.
    case initiatorClockFast
    case reservationStoreAnswersEarly
    case reservationsForgotten
    /// Two hosts attach a volume that nothing fences.
    case twoHostsAttach
    case reservationsMixed

    /// Has a disk break the promise, where it is one of a disk.
    func spoil(_ behaviour: inout SimulatedDiskBehaviour) {
        switch self {
        case .flushIgnored: behaviour.ignoresFlush = true
        case .forceUnitAccessIgnored: behaviour.ignoresForceUnitAccess = true
        case .flushEndsEarly: behaviour.answersFlushesEarly = true
        case .trimEndsEarly: behaviour.answersWritesEarly = true
        case .flushForgets: behaviour.flushCapacity = 8
        case .failuresHidden, .flushFailuresHidden: behaviour.hidesFailures = true
        case .writesMisdirected: behaviour.misdirectedWriteRarity = 50
        case .readsMisdirected:
            behaviour.misreading = 0..<UInt64.max
            behaviour.misreadDistance = 1
        case .writesDropped: behaviour.droppedWriteRarity = 50
        case .writesRepeated: behaviour.repeatedWriteRarity = 50
        case .writesEndShort: behaviour.writesEndShort = true
        case .zeroesForgotten: behaviour.forgetsZeroes = true
        case .zeroesNotZero: behaviour.zeroesAreNotZero = true
        case .comparesEqual: behaviour.comparesEqual = true
        case .readsStale: behaviour.misreading = 0..<UInt64.max
        case .dataTorn: behaviour.tearing = 0..<UInt64.max
        case .instanceKept, .reseatUnnoticed, .clockAtHalfSpeed, .initiatorClockFast, .reservationStoreAnswersEarly,
            .reservationsForgotten, .twoHostsAttach, .reservationsMixed:
            break
        }
    }
}
