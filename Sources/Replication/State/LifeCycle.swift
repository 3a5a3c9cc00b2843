import Base

/// How far a detach has come.
enum DetachStep: UInt8, BitwiseCopyable {
    case idle, flushing, clearing, recording, releasing
}

/// How long the steps of a detach took, in nanoseconds: which of them kept it waiting.
public struct DetachTimes: Equatable, Sendable, BitwiseCopyable {
    /// Until what was under way had ended.
    public var drain: UInt64 = 0
    /// Until the members had flushed what they had cached.
    public var flush: UInt64 = 0
    /// Until the members held the maps without a bit set.
    public var maps: UInt64 = 0
    /// Until the members held the record that the volume is clean.
    public var record: UInt64 = 0
    /// Until the reservations were given up, and the connections had ended.
    public var release: UInt64 = 0

    public init() {}

    public var total: UInt64 { drain + flush + maps + record + release }

    mutating func add(_ time: UInt64, to step: DetachStep) {
        switch step {
        case .idle: drain += time
        case .flushing: flush += time
        case .clearing: maps += time
        case .recording: record += time
        case .releasing: release += time
        }
    }
}

/// The volume's phase, and its steps within phases.
struct LifeCycle: BitwiseCopyable {
    private(set) var phase = VolumePhase.detached
    private(set) var detachStep = DetachStep.idle
    private(set) var detachTimes = DetachTimes()
    private var stepBegan = MonotonicTime(nanoseconds: 0)
    /// The reservations stay: the next attachment takes them away.
    var leavesReservations = false
    /// It has been decided who is in sync; the members are being given the metadata that says so.
    var isDeciding = false

    /// False where that is the phase already.
    mutating func become(_ next: VolumePhase) -> Bool {
        guard next != phase else { return false }
        invariant(phase.mayBecome(next), "a volume's phases follow each other as listed")
        phase = next
        return true
    }

    /// The detach begins, or is broken off.
    mutating func resetDetach(_ now: MonotonicTime) {
        (detachStep, detachTimes, stepBegan) = (.idle, DetachTimes(), now)
    }

    /// A step of the detach has ended.
    mutating func endStep(_ now: MonotonicTime, next: DetachStep) {
        detachTimes.add(now.nanoseconds(since: stepBegan), to: detachStep)
        (detachStep, stepBegan) = (next, now)
    }

    /// I/O is done.
    @inline(__always) var isServing: Bool { phase == .serving || phase == .detaching }

    /// Members that come back are taken in one by one; there is nothing to decide.
    var takesIn: Bool { phase == .serving || phase == .suspended || phase == .detaching }

    /// No member in sync is used: it has to be decided who is.
    var mustDecide: Bool { phase == .attaching || phase == .recovering }

    /// The volume is being released: members that are lost now stay away.
    var isEnding: Bool { phase == .detaching && detachStep == .releasing }
}
