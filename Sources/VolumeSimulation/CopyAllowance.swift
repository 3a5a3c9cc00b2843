import Replication
import VolumeDriver

/// The regions that a volume may copy from now on: those with a bit on some member, and those that it is copying. Each is copied once
/// where nothing goes wrong any more.
struct CopyAllowance {
    /// The initiator that copies.
    let initiator: Int
    let regions: UInt64
    private let copied: UInt64
    private let setbacks: UInt64

    init(_ initiator: InitiatorProcess, _ statistics: VolumeStatistics, regions: Int) {
        self.initiator = initiator.number
        self.regions = UInt64(regions)
        copied = statistics.regionsCopied
        setbacks = Self.setbacks(statistics)
    }

    /// The regions copied since beyond those; `nil` where there are none, or a member has failed since.
    func excess(_ statistics: VolumeStatistics) -> UInt64? {
        guard Self.setbacks(statistics) == setbacks else { return nil }
        let since = statistics.regionsCopied - copied
        return since > regions ? since - regions : nil
    }

    /// Times when copies begin again with reason.
    private static func setbacks(_ statistics: VolumeStatistics) -> UInt64 {
        statistics.memberLosses + statistics.demotions + statistics.retries + statistics.readFailovers
    }
}

extension VolumeWorld {
    /// Counts what may be copied, once all members are there and the faults are over.
    func allowCopies() -> CopyAllowance? {
        guard profile.places.gap == 0, let initiator = current, alive.count == 1, initiator.phase == .serving,
            let volume = initiator.volume, let best = bestRecord, let layouts = layouts(best),
            volume.engine.status.members.allSatisfy({ $0.phase == .active })
        else { return nil }
        let marked = best.geometry.allRegions.count { region in
            MemberSet.all.contains { member in
                ([BitmapPage.inFlightKind] + MemberSet.all.without(member).map(\.number)).contains {
                    hasBit(member, $0, region, layouts[member], .cached)
                }
            }
        }
        // Copies that run have begun without a member that has only just returned.
        let running = volume.engine.configuration.copyConcurrency
        return CopyAllowance(initiator, volume.engine.statistics, regions: marked + running)
    }

    /// Nothing is copied that no bit asked for, and nothing twice.
    func judge(_ allowance: CopyAllowance?) {
        guard failure == nil, let allowance, let initiator = current, initiator.number == allowance.initiator,
            let volume = initiator.volume, let excess = allowance.excess(volume.engine.statistics)
        else { return }
        fail(
            .copiedInVain,
            "h\(initiator.number) copied \(excess) regions more than the \(allowance.regions) that it had to, or was copying"
        )
    }
}
