import Base

/// How far a detach has come.
enum DetachStep: UInt8, BitwiseCopyable {
    case idle, flushing, flushed, clearing, recording, releasing
}

/// The volume's phase, and its steps within phases.
struct LifeCycle: BitwiseCopyable {
    private(set) var phase = VolumePhase.detached
    var detachStep = DetachStep.idle
    /// It has been decided who is in sync; the members are being given the metadata that says so.
    var isDeciding = false

    /// False where that is the phase already.
    mutating func become(_ next: VolumePhase) -> Bool {
        guard next != phase else { return false }
        invariant(phase.mayBecome(next), "a volume's phases follow each other as listed")
        phase = next
        return true
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
