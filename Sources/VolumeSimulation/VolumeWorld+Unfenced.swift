import NVMeTarget
import Simulation

/// Volumes whose members offer no reservations: the operator sees to it that one host at a time has them.
extension VolumeWorld {
    /// Whether somebody may attach the volume while another one has it, and be kept apart from that one.
    var mayCompete: Bool { !profile.isUnfenced || profile.machineDefect == .twoHostsAttach }

    /// Whether an initiator may begin. Without reservations the host that had the volume has surely stopped: no target knows of an
    /// association of it any more. What that had sent, and a target has at its disk, is the target's to wait for.
    var mayAttach: Bool {
        mayCompete
            || alive.isEmpty
                && targets.allSatisfy { target in
                    target.process.map { $0.target.subsystems.allSatisfy { $0.controllerCount == 0 } } ?? true
                }
    }

    /// Begins an initiator as soon as one may.
    func startLater() {
        guard !isStartDue else { return }
        isStartDue = true
        awaitFormer()
    }

    private func awaitFormer() {
        network.schedule(afterNanoseconds: 1_000_000) { [unowned self] in
            guard failure == nil, !isFinished, alive.isEmpty else { return isStartDue = false }
            guard mayAttach else { return awaitFormer() }
            isStartDue = false
            startInitiator()
        }
    }
}
