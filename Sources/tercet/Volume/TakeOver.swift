import ArgumentParser
import Base
import NVMeSpec
import Replication
import VolumeDriver

/// Whether a host that has the volume attached may be fenced.
struct TakeOver: ParsableArguments {
    @Flag(
        name: .customLong("take-over"),
        help:
            "Where a host has the volume attached, fence it: it stops as deposed. Without this such a volume is left alone."
    )
    var isAsked = false

    /// Hosts that have a volume attached are left alone.
    static var none: TakeOver {
        var takeOver = TakeOver()
        takeOver.isAsked = false
        return takeOver
    }

    /// Why members are to be left alone: another host has one of them attached, and taking over was not asked for.
    ///
    /// - Parameter look: finds the hosts that are present, by member; called at least once.
    func objection(
        _ members: [MemberAddress], _ look: () async -> [[PresentHost]]
    ) async -> String? {
        let end = MonotonicTime.now().advanced(byMilliseconds: VolumeOccupant.patienceMilliseconds)
        while true {
            let present = await look()
            guard !isAsked, let occupant = VolumeOccupant(members, present) else { return nil }
            guard MonotonicTime.now() < end else { return occupant.objection(consent: "say --take-over") }
            try? await Task.sleep(for: .milliseconds(100))
        }
    }

    /// Throws where the members of a probe are to be left alone.
    func check(_ probe: MemberProbe) async throws(TercetError) {
        let objection = await objection(probe.addresses) {
            var present: [[PresentHost]] = []
            for member in probe.addresses.indices { present.append(await probe.presentHosts(of: MemberIndex(member))) }
            return present
        }
        if let objection { throw TercetError(.inUse, objection) }
    }

    /// The help of all commands that attach a volume, work on it and detach it.
    static let discussion = """
        The command attaches the volume itself and detaches it at the end. Where another host has it attached, it changes \
        nothing and ends with status 1; with --take-over it fences that host, which stops as deposed. A host that died is no \
        obstacle where the targets tell that it is gone, as tercetd does; others go on naming it, and --take-over is needed. \
        Members without fencing do not tell who is there. Where this command is fenced by another host, it ends \
        with status 1.
        """
}
